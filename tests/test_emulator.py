"""The emulator of CUDA finds what it is there to find, in every schedule, and nothing else.

tests/cpp/emulator_test.cu has kernels with a mistake each and the same kernels without it; tests/cpp/emulator_probe.cu
shows fragments, schedules and races, which are worked out here a second time.
"""

from __future__ import annotations

import ctypes
import re

import numpy as np
import pytest
from conftest import built

PATH = built("libemulator_test.so")
pytestmark = pytest.mark.skipif(PATH is None, reason="the build folder with the emulator of CUDA is not here")

SEEDS = range(8)


def load() -> ctypes.CDLL:
    library = ctypes.CDLL(str(PATH))
    for name in ("emulator_test_name", "emulator_test_fault", "fastnn_emulator_fault"):
        getattr(library, name).restype = ctypes.c_char_p
    for name in ("test_run", "probe_mma", "probe_load", "probe_convert", "probe_order", "probe_program"):
        getattr(library, f"emulator_{name}").restype = ctypes.c_bool
    return library


LIB = load() if PATH else None
CASES = [
    (i, LIB.emulator_test_name(i).decode(), LIB.emulator_test_fault(i).decode())
    for i in range(LIB.emulator_test_count() if LIB else 0)
]


def fault() -> str:
    return LIB.fastnn_emulator_fault().decode()


def seeded(seed: int) -> None:
    LIB.fastnn_emulator_seed(ctypes.c_uint64(seed))


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    assert array.flags.c_contiguous
    return array.ctypes.data_as(ctypes.c_void_p)


@pytest.mark.parametrize(
    ("case", "pattern"), [(i, p) for i, _, p in CASES], ids=[name.replace(" ", "-") for _, name, _ in CASES]
)
def test_mistakes_are_found_in_every_schedule_and_nothing_else(case, pattern):
    for seed in SEEDS:
        seeded(seed)
        good = LIB.emulator_test_run(case)
        text = fault()
        if pattern:
            assert not good
            assert re.match(r"kernel [a-z].*(, block \(\d+, \d+, \d+\), thread \(\d+, \d+, \d+\))?: ", text)
            assert re.search(pattern, text), text
        else:
            assert good, text
            assert text == ""


# ---- schedules ------------------------------------------------------------------------------------------------------------


def order(seed: int, blocks: int, threads: int) -> tuple[int, ...]:
    seeded(seed)
    got = np.zeros(2 * blocks * threads, np.int32)
    assert LIB.emulator_probe_order(blocks, threads, pointer(got)), fault()
    assert sorted(got) == sorted(2 * list(range(blocks * threads)))
    return tuple(got)


def test_schedules_differ_between_seeds_and_repeat_with_one():
    for blocks, threads in [(1, 96), (6, 1), (3, 40)]:
        orders = [order(seed, blocks, threads) for seed in range(16)]
        assert len(set(orders)) >= 5
        assert orders == [order(seed, blocks, threads) for seed in range(16)]


# ---- races: an access is ordered before another's by barriers alone -------------------------------------------------------------

NOTHING, READ, WRITE, ATOMIC, READ_WORD, WRITE_WORD = range(6)


def races(program: np.ndarray, barriers: np.ndarray, shared: bool) -> bool:
    """By comparing every two accesses of a program (blocks, rounds, threads, {operation, cell})."""
    blocks, rounds, threads, _ = program.shape
    accesses = []
    for block, thread in np.ndindex(blocks, threads):
        block_epoch = warp_epoch = 0
        for r in range(rounds):
            op, cell = program[block, r, thread]
            if op != NOTHING:
                word = op in (ATOMIC, READ_WORD, WRITE_WORD)
                cells = set(range(cell - cell % 4, cell - cell % 4 + 4)) if word else {cell}
                accesses.append((block, thread, block_epoch, warp_epoch, op, cells))
            if barriers[r] == 1:
                warp_epoch += 1
            elif barriers[r] == 2:
                block_epoch += 1
    for i, (block_a, a, be_a, we_a, op_a, cells_a) in enumerate(accesses):
        for block_b, b, be_b, we_b, op_b, cells_b in accesses[:i]:
            if (block_a, a) == (block_b, b) or not cells_a & cells_b or (shared and block_a != block_b):
                continue
            kinds = {op_a, op_b}
            if kinds <= {READ, READ_WORD} or kinds == {ATOMIC}:
                continue
            if block_a == block_b and (be_a != be_b or (a // 32 == b // 32 and we_a != we_b)):
                continue
            return True
    return False


SOME_THREADS = [0, 1, 31, 32, 40, 63, 64, 69]  # of three warps


def random_program(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int, bool]:
    """Few accesses, so that about half of the programs are right."""
    blocks, rounds, threads = rng.integers(1, 3), rng.integers(1, 7), 70
    cells = int(rng.choice([4, 8, 16]))
    program = np.zeros((blocks, rounds, threads, 2), np.int32)
    weights = rng.dirichlet([1.5, 0.6, 0.5, 0.8, 0.4])
    for _ in range(rng.integers(2, 9)):
        where = rng.integers(blocks), rng.integers(rounds), rng.choice(SOME_THREADS)
        program[where] = rng.choice(5, p=weights) + 1, rng.integers(cells)
    return program, rng.choice(3, rounds).astype(np.int32), cells, bool(rng.integers(2))


def readers_and_a_writer(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int, bool]:
    """One cell, read by several threads and in the end written by one, with few barriers between."""
    rounds, threads = rng.integers(2, 6), 70
    program = np.zeros((1, rounds, threads, 2), np.int32)
    readers = rng.choice(SOME_THREADS, rng.integers(1, 4))
    kind = rng.choice([READ, READ, ATOMIC])
    for r in range(rounds - 1):
        program[0, r, rng.choice(readers)] = kind, 0
    program[0, rounds - 1, rng.choice([*readers, 32])] = WRITE, 0
    return program, rng.choice(3, rounds, p=[0.5, 0.4, 0.1]).astype(np.int32), 4, bool(rng.integers(2))


def test_races_of_random_programs_are_found_exactly():
    rng = np.random.default_rng(4)
    found = 0
    for i in range(1200):
        program, barriers, cells, shared = (random_program, readers_and_a_writer)[i % 2](rng)
        want = races(program, barriers, shared)
        found += want
        for seed in (1, 2, 3):
            seeded(seed)
            blocks, rounds, threads, _ = program.shape
            good = LIB.emulator_probe_program(
                int(blocks), threads, rounds, cells, shared, pointer(program), pointer(barriers)
            )
            text = fault()
            assert good == (not want), (text, program[program[..., 0] > 0], barriers)
            assert good or ": race: " in text
    assert 300 < found < 900


# ---- tensor cores: the fragments of the PTX ISA, "Matrix Fragments for mma.m16n8k8 / m16n8k16" -------------------------------------


def element_places(k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(row, column) of every element that a lane holds, of A, B and D, in order of its registers."""
    a, b, d = [], [], []
    for lane in range(32):
        group, t = lane >> 2, lane % 4
        if k == 8:
            a.append([(group + 8 * (i in (1, 3)), t + 4 * (i >= 2)) for i in range(4)])
            b.append([(t + 4 * i, group) for i in range(2)])
        else:
            rows = [group if i < 2 or 4 <= i < 6 else group + 8 for i in range(8)]
            a.append([(rows[i], 2 * t + (i & 1) + 8 * (i >= 4)) for i in range(8)])
            b.append([(2 * t + (i & 1) + 8 * (i >= 2), group) for i in range(4)])
        d.append([(group + 8 * (i >= 2), 2 * t + (i & 1)) for i in range(4)])
    return np.array(a), np.array(b), np.array(d)


def bfloat16_bits(x: np.ndarray) -> np.ndarray:
    bits = x.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)


def gathered(x: np.ndarray, places: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x[places[..., 0], places[..., 1]])


@pytest.mark.parametrize(("name", "k"), [("tf32", 8), ("bf16", 16), ("fp16", 16)])
def test_tensor_cores(name, k):
    rng = np.random.default_rng(7)
    places_a, places_b, places_d = element_places(k)
    for _ in range(20):
        a, b, c = (rng.standard_normal(s).astype(np.float32) for s in [(16, k), (k, 8), (16, 8)])
        if name == "tf32":  # the low 13 bits are not looked at
            bits = [x.view(np.uint32) for x in (a, b)]
            a, b = ((x & np.uint32(0xFFFFE000)).view(np.float32) for x in bits)
        elif name == "bf16":
            bits = [bfloat16_bits(x) for x in (a, b)]
            a, b = ((x.astype(np.uint32) << 16).view(np.float32) for x in bits)
        else:
            bits = [x.astype(np.float16).view(np.uint16) for x in (a, b)]
            a, b = (x.view(np.float16).astype(np.float32) for x in bits)
        left, right = (
            gathered(x, p).view(np.uint32) for x, p in zip(bits, (places_a, places_b), strict=True)
        )
        d = gathered(c, places_d)
        kind = ["tf32", "bf16", "fp16"].index(name)
        assert LIB.emulator_probe_mma(kind, pointer(d), pointer(left), pointer(right)), fault()
        want = a.astype(np.float64) @ b.astype(np.float64) + c
        scale = np.abs(a).astype(np.float64) @ np.abs(b) + np.abs(c)
        error = np.abs(d - gathered(want, places_d)) / gathered(scale, places_d)
        assert error.max() < 2.0**-21


@pytest.mark.parametrize("transposed", [False, True])
def test_matrices_from_shared_memory(transposed):
    x = np.arange(256, dtype=np.uint16).reshape(4, 8, 8)
    r = np.zeros((32, 4), np.uint32)
    assert LIB.emulator_probe_load(transposed, pointer(r), pointer(x)), fault()
    for lane in range(32):
        for n in range(4):
            m = x[n].T if transposed else x[n]
            low, high = m[lane // 4, 2 * (lane % 4)], m[lane // 4, 2 * (lane % 4) + 1]
            assert r[lane, n] == int(high) << 16 | int(low)


def test_conversions():
    rng = np.random.default_rng(1)
    x = np.concatenate([
        rng.standard_normal(500) * 10.0 ** rng.integers(-9, 6, 500),
        [0.0, -0.0, np.inf, -np.inf, 65504, 65519.9, 65520, 1 + 2**-11, 1 + 3 * 2**-11, 2**-24, 2**-25, 1.5 * 2**-25],
        [1 + 2**-8, 1 + 3 * 2**-8, 3.4e38, -1e-45, 6.1e-5, 6.09e-5],
    ]).astype(np.float32)  # fmt: skip
    to_away, to_even, bf16, fp16 = made = [np.zeros(len(x), np.uint32) for _ in range(4)]
    assert LIB.emulator_probe_convert(*map(pointer, made), pointer(x), len(x)), fault()
    after = np.roll(x, -1)
    with np.errstate(over="ignore"):
        halves = [v.astype(np.float16).view(np.uint16).astype(np.uint32) for v in (x, after)]
    np.testing.assert_array_equal(fp16, halves[0] | halves[1] << 16)
    brains = [bfloat16_bits(v).astype(np.uint32) for v in (x, after)]
    np.testing.assert_array_equal(bf16, brains[0] | brains[1] << 16)
    finite = np.isfinite(x) & (np.abs(x) < 3e38) & (np.abs(x) > 1e-38)
    mantissa, exponent = np.frexp(x.astype(np.float64))
    scaled = np.abs(mantissa) * 2**11
    for tf32, whole in [(to_away, np.floor(scaled + 0.5)), (to_even, np.rint(scaled))]:  # differ in ties
        assert np.all(tf32 & 0x1FFF == 0)
        want = np.copysign(whole, x) * 2.0 ** (exponent - 11)
        np.testing.assert_array_equal(tf32.view(np.float32)[finite], want[finite].astype(np.float32))
    assert x[to_away != to_even].tolist() == [1 + 2**-11]
    nan = np.full(2, np.nan, np.float32)
    assert LIB.emulator_probe_convert(*map(pointer, made), pointer(nan), 2)
    assert to_away[0] == to_even[0] == 0x7FFFFFFF
    assert bf16[0] == fp16[0] == 0x7FFF7FFF
