"""Elementwise ops beyond their rows of the op table: every form and parameter that their descriptions promise, wrapping
integers, and that no op is without a domain."""

from __future__ import annotations

import fastnn as fn
import numpy as np
import pytest
from cases.case import Arg, binary, unary
from cases.elementwise import ROWS
from cases.rows import Row, described, label, references
from conftest import ROOT, needs_cuda
from test_ops import DTYPES, assert_same_bits, draw

DESCRIBED = described()
KNOWN = [row for row in DESCRIBED.values() if row.name in ROWS]
DEVICES = ["cpu", pytest.param("cuda", marks=needs_cuda)]


def by_row(*keep):
    """Parametrizes a test over the rows of which all of ``keep`` hold."""
    rows = [row for row in KNOWN if all(holds(row) for holds in keep)]
    return pytest.mark.parametrize("row", rows, ids=[row.name for row in rows])


def by_parameters(*keep):
    """The same over rows and the parameters to try them with."""
    rows = [(row, p) for row in KNOWN if all(holds(row) for holds in keep) for p in ROWS[row.name].parameters]
    return pytest.mark.parametrize(
        ("row", "parameters"), rows, ids=[label(*one).replace(" ", "_") for one in rows]
    )


def inputs(row: Row, dtype: str) -> list[tuple[Arg, ...]]:
    kinds = ROWS[row.name].operands if dtype in row.floats else ROWS["eq"].operands[: row.operands]
    return {1: unary, 2: binary}[row.operands](*kinds)


def drawn(row: Row, dtype: str = "", shape: tuple[int, ...] = (5, 7)) -> list[np.ndarray]:
    """Operands of equal shape."""
    dtype = dtype or row.dtypes[0]
    return draw(tuple(Arg(shape, arg.draw, arg.dtype) for arg in inputs(row, dtype)[0]), dtype)


def one_without_the_other(rows, domains) -> list[str]:
    """A line per row without a domain, and per domain without a row."""
    complaints = [
        f"{name}: give it a domain in tests/cases/elementwise.py" for name in rows if name not in domains
    ]
    return complaints + [
        f"{name}: has a domain, but there is no such row" for name in domains if name not in rows
    ]


def test_every_row_has_a_domain_and_every_domain_a_row():
    assert one_without_the_other(DESCRIBED, ROWS) == []
    assert len(one_without_the_other({"new": None}, {"gone": None})) == 2


@by_row()
def test_description(row):
    assert row.doc
    assert set(row.dtypes) <= set(DTYPES)
    assert row.differentiable in (0, 1, 2)
    assert row.floats or not row.differentiable
    assert len(ROWS[row.name].operands) == row.operands
    for parameters in ROWS[row.name].parameters:
        assert set(parameters) <= set(row.parameters)
    assert {} in ROWS[row.name].parameters, "the defaults, of which the error bound is"
    assert callable(getattr(fn._C, row.name))
    assert row.doc.rstrip(".") in getattr(fn._C, row.name).__doc__


def test_documentation_states_the_bounds():
    lines = (ROOT / "docs/ops.md").read_text().splitlines()
    cells = {
        line.split("`")[1].partition("(")[0]: line.split(" | ") for line in lines if line.startswith("| `")
    }
    assert cells.keys() == DESCRIBED.keys()
    for name, row in DESCRIBED.items():
        stated = {"float32": cells[name][-2], "float64": cells[name][-1].rstrip(" |")}
        for dtype in row.floats:
            assert stated[dtype] == ("exact" if row.ulp is None else f"{row.ulp[dtype]:g}")


@by_row(lambda row: row.parameters)
def test_defaults_of_parameters(row):
    xs = [fn.tensor(a) for a in drawn(row)]
    want = row.call(*xs).numpy()
    assert_same_bits([row.call(*xs, **row.parameters).numpy()], [want])
    assert_same_bits([row.call(*xs, *row.parameters.values()).numpy()], [want])
    with pytest.raises(TypeError):
        row.call(*xs, no_such_parameter=1)


@by_parameters()
def test_method(row, parameters):
    assert hasattr(fn.Tensor, row.name) == row.method
    if row.method:
        xs = [fn.tensor(a) for a in drawn(row)]
        got = getattr(xs[0], row.name)(*xs[1:], **parameters)
        assert_same_bits([got.numpy()], [row.call(*xs, **parameters).numpy()])


@by_row(lambda row: not row.inplace)
def test_no_in_place_form_is_left_undescribed(row):
    assert not hasattr(fn.Tensor, f"{row.name}_")


@by_parameters(lambda row: row.inplace)
@pytest.mark.parametrize("device", DEVICES)
def test_in_place_form(row, parameters, device):
    """The same bits, written into the tensor itself, whatever its layout, shape and dtype."""
    for dtype in row.dtypes:
        for args in inputs(row, dtype):
            arrays = draw(args, dtype)
            xs = [fn.tensor(a, device=device) for a in arrays]
            want = row.call(*xs, **parameters)
            if want.shape != xs[0].shape or arrays[0].size > 2000:
                continue
            wide = fn.zeros(*(2 * n for n in arrays[0].shape), dtype=DTYPES[dtype], device=device)
            for x in (xs[0].clone(), wide[(slice(None, None, 2),) * wide.ndim]):
                x.copy_(xs[0])
                got = row.call_in_place(x, *xs[1:], **parameters)
                assert got is x
                assert_same_bits([x.cpu().numpy()], [want.cpu().numpy()])


def gradients(y: fn.Tensor, leaves: list[fn.Tensor]) -> list[np.ndarray] | str:
    """Or what the error says."""
    try:
        return [dx.numpy() for dx in fn.grad(y.sum(), leaves)]
    except RuntimeError as error:
        return str(error)


@by_parameters(lambda row: row.inplace and row.differentiable)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradient_of_the_in_place_form(row, parameters, dtype):
    """That of the op, or an error where it needs what was overwritten."""
    leaves = [fn.tensor(a, requires_grad=True) for a in drawn(row, dtype)]
    want = gradients(row.call(*leaves, **parameters), leaves)
    x = leaves[0] * 1
    row.call_in_place(x, *leaves[1:], **parameters)
    got = gradients(x, leaves)
    if isinstance(got, str):
        assert "changed in place" in got
    else:
        assert_same_bits(got, want)


@by_row(lambda row: row.inplace)
def test_in_place_form_refuses_what_does_not_fit(row):
    leaf = fn.tensor(drawn(row)[0], requires_grad=True)
    with pytest.raises(RuntimeError):
        row.call_in_place(leaf, *[fn.tensor(a) for a in drawn(row)[1:]])
    if row.operands == 2:
        small, large = (fn.ones(*shape, dtype=DTYPES[row.dtypes[0]]) for shape in ((3,), (2, 3)))
        with pytest.raises(ValueError, match="broadcast"):
            row.call_in_place(small, large)
        assert small.tolist() == [1, 1, 1]


@by_row(lambda row: row.integers)
@pytest.mark.parametrize("device", DEVICES)
def test_integers_wrap(row, device):
    for dtype in row.integers:
        limits, rng = np.iinfo(dtype), np.random.default_rng(0)
        operands = [rng.integers(limits.min, limits.max, 1003, dtype=dtype) for _ in range(row.operands)]
        for values, ends in zip(
            operands, ((limits.min, limits.max, 0), (limits.max, limits.max, limits.min)), strict=False
        ):
            values[:3] = ends
        with np.errstate(all="ignore"):
            want = references(row, ROWS[row.name], {})[0](*operands)
        got = row.call(*(fn.tensor(a, device=device) for a in operands))
        assert_same_bits([got.cpu().numpy()], [want])


@by_row(lambda row: row.differentiable == 0)
def test_what_has_no_gradient_is_not_recorded(row):
    for dtype in row.floats:
        xs = [fn.tensor(a, requires_grad=True) for a in drawn(row, dtype)]
        assert not row.call(*xs).requires_grad
