"""Matrix products: C (m x n) = A (m x k) B (k x n), either operand transposed in place, float32."""

from __future__ import annotations

from .rows import Lib, Row, Timed, floats, sides


def _operands(lib: Lib, m: int, n: int, k: int, kind: str) -> tuple[object, object]:
    """A and B as they lie in memory; T: the operand is stored transposed and handed over as a view."""
    a = floats(*((m, k) if kind[0] == "N" else (k, m)))
    b = floats(*((k, n) if kind[1] == "N" else (n, k)), seed=1)
    a, b = (a, b) if lib.name == "numpy" else (lib.tensor(a), lib.tensor(b))
    return (a if kind[0] == "N" else a.T), (b if kind[1] == "N" else b.T)


def product(kind: str, m: int, n: int, k: int, name: str = "", headline: str = "") -> Row:
    def fastnn(lib: Lib) -> Timed:
        a, b = _operands(lib, m, n, k, kind)
        return lambda: lib.xp.matmul(a, b)

    def into_buffer(
        lib: Lib,
    ) -> Timed:  # the peers get a buffer to write to, which spares them the allocation
        a, b = _operands(lib, m, n, k, kind)
        c = lib.xp.empty((m, n), dtype=lib.xp.float32)
        return lambda: lib.xp.matmul(a, b, out=c)

    return Row(
        "gemm",
        name or (f"{kind} {m}^3" if m == n == k else f"{kind} {m}x{n}x{k}"),
        sides(fastnn=fastnn, torch=into_buffer, numpy=into_buffer),
        flops=2.0 * m * n * k,
        bytes=4.0 * (m * k + k * n + m * n),
        headline=headline,
    )


def vector_product(name: str, transposed: bool, size: int) -> Row:
    def operands(lib: Lib) -> tuple[object, object]:
        a, x = floats(size, size), floats(size, seed=1)
        a, x = (a, x) if lib.name == "numpy" else (lib.tensor(a), lib.tensor(x))
        return (a.T if transposed else a), x

    def call(lib: Lib) -> Timed:
        a, x = operands(lib)
        return lambda: lib.xp.matmul(a, x)

    return Row("gemm", f"{name} {size}^2", sides(call, numpy=call), flops=2.0 * size**2, bytes=4.0 * size**2)


CUBES = (64, 128, 256, 512, 1024, 2048)
HEADLINES = {64: "matrix product 64³", 256: "matrix product 256³", 1024: "matrix product 1024³"}

ROWS = [
    *[product("NN", n, n, n, headline=HEADLINES.get(n, "")) for n in CUBES],
    *[product("NT", n, n, n) for n in CUBES],
    *[product("TN", n, n, n) for n in CUBES],
    *[product("NN", n, n, n) for n in (255, 1023)],
    product("NN", 128, 361, 1152),
    product("TN", 1024, 1024, 64, "TN 1024x1024x64, a weight gradient"),
    product("NT", 128, 10, 500, "NT 128x10x500, a classifier"),
    vector_product("A x", False, 4096),
    vector_product("A^T x", True, 4096),
]
