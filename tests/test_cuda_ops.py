"""The op table on a CUDA device: every row's values, gradients and layouts against the CPU's.

Without a GPU the device is the emulator, which also checks bounds and races; it shuffles schedules by a seed, on which
no bit of a result may depend.
"""

from __future__ import annotations

import os

import fastnn as fn
import numpy as np
import pytest
from cases import Arg, Case
from conftest import EMULATED, emulator_seed, needs_cuda
from test_ops import (
    assert_close,
    assert_close_gradient,
    assert_same_bits,
    by_case,
    draw,
    flipped,
    run,
    shifted,
    stepped,
    transposed,
)

pytestmark = needs_cuda

SEEDS = (1, 2, 3)[: int(os.environ.get("FASTNN_TEST_SEEDS", "3"))]
LARGEST = int(
    os.environ.get("FASTNN_TEST_LARGEST", 2000 if EMULATED else 1 << 40)
)  # elements of the inputs; an emulated
# thread costs microseconds

Results = tuple[list[np.ndarray], list[np.ndarray]]


def small_enough(case: Case) -> list[tuple[Arg, ...]]:
    chosen = [args for args in case.inputs if sum(a.size for a in args) <= LARGEST]
    return chosen or [min(case.inputs, key=lambda args: sum(a.size for a in args))]


def run_on_device(case: Case, args: tuple[Arg, ...], arrays: list[np.ndarray], layout=fn.tensor) -> Results:
    """Everything that the row makes is made on the device."""
    fn.set_default_device("cuda")
    try:
        return run(case, args, [layout(a).detach() for a in arrays], layout)
    finally:
        fn.set_default_device("cpu")


@by_case()
def test_as_on_the_cpu_in_every_schedule(case, dtype):
    for args in small_enough(case):
        arrays = draw(args, dtype)
        want = run(case, args, [fn.tensor(a) for a in arrays])
        first = None
        for seed in SEEDS:
            emulator_seed(seed)
            got = run_on_device(case, args, arrays)
            if first is None:
                first = got
                for a, b in zip(got[0], want[0], strict=True):
                    assert_close(case, a, b, case.error + 4, case.spread + 4)
                for a, b in zip(got[1], want[1], strict=True):
                    assert_close_gradient(case, a, b)
            assert_same_bits(got[0], first[0])
            assert_same_bits(got[1], first[1])


@by_case()
@pytest.mark.parametrize("layout", [stepped, transposed, shifted, flipped])
def test_same_bits_in_any_layout(case, dtype, layout):
    args = max(small_enough(case), key=lambda args: max((len(a.shape) for a in args), default=0))
    arrays = draw(args, dtype)
    want = run_on_device(case, args, arrays)
    got = run_on_device(case, args, arrays, layout)
    if layout is transposed and not case.transposable:
        for a, b in zip(got[0] + got[1], want[0] + want[1], strict=True):
            assert_close_gradient(case, a, b)
    else:
        assert_same_bits(got[0] + got[1], want[0] + want[1])


@by_case(lambda c: c.special, ["float32", "float64"])
def test_special_values(case, dtype):
    columns = np.array(np.meshgrid(*[case.special] * len(case.inputs[0]))).reshape(len(case.inputs[0]), -1)
    with np.errstate(all="ignore"):
        arrays = [c.astype(dtype) for c in columns]
    want = case.call(*map(fn.tensor, arrays)).numpy()
    got = case.call(*(fn.tensor(a, device="cuda") for a in arrays)).cpu().numpy()
    assert_close(case, got, want, case.error + 4)
    zero = want == 0
    np.testing.assert_array_equal(np.signbit(got[zero]), np.signbit(want[zero]), "sign of zero")
