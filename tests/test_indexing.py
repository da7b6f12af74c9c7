"""x[key] and x[key] = value against NumPy, over random keys of every kind."""

from __future__ import annotations

import contextlib
import threading

import fastnn as fn
import numpy as np
import pytest

SHAPES = [(), (1,), (7,), (0,), (3, 4), (2, 0, 3), (4, 3, 5), (2, 3, 1, 4)]


def random_slice(rng, n):
    bound = lambda: None if rng.random() < 0.3 else int(rng.integers(-n - 2, n + 3))  # noqa: E731
    step = None if rng.random() < 0.4 else int(rng.choice([-3, -2, -1, 1, 2, 3]))
    return slice(bound(), bound(), step)


def random_key(rng, shape, advanced):
    """A key for an array of this shape: integers, slices, None, ... and, where wanted, integer arrays and masks."""
    key, dim, taken = [], 0, 0
    broadcast = [(), (3,), (2, 3), (1,), (2, 1)][rng.integers(5)]
    while dim < len(shape) and len(key) < 7:
        n = shape[dim]
        kind = rng.choice(
            ["slice", "integer", "none", "stop", "ellipsis", "array", "mask"],
            p=[0.3, 0.15, 0.1, 0.05, 0.1, 0.2, 0.1],
        )
        if kind == "stop":
            break
        if kind == "none":
            if sum(k is None for k in key) < 3:
                key.append(None)
        elif kind == "ellipsis":
            if not any(k is Ellipsis for k in key):
                key.append(Ellipsis)
                dim += int(rng.integers(0, len(shape) - dim + 1))
        elif kind == "slice":
            key.append(random_slice(rng, n))
            dim += 1
        elif kind == "integer" and n:
            key.append(int(rng.integers(-n, n)))
            dim += 1
        elif kind == "array" and n and advanced:
            # shapes that broadcast against each other: each array has the common one, or one of its tails
            key.append(
                rng.integers(-n, n, broadcast[int(rng.integers(len(broadcast) + 1)) :] if broadcast else ())
            )
            if key[-1].ndim == 0:
                key[-1] = int(key[-1])
            dim += 1
        elif kind == "mask" and advanced and not taken and broadcast in ((), (1,)):
            width = int(rng.integers(1, len(shape) - dim + 1))
            mask = rng.random(shape[dim : dim + width]) < 0.5
            key.append(mask)
            taken, dim = 1, dim + width
    if any(k is Ellipsis for k in key):  # what follows it counts from the last dimension
        key += [slice(None)] * (len(shape) - dim)
    return tuple(key)


def ours(key):
    return tuple(fn.tensor(k) if isinstance(k, np.ndarray) else k for k in key)


def in_two_steps(key):
    """(what gives a view, what gathers from that view). NumPy counts an integer beside an array as an array, which may
    move dimensions to the front; PyTorch, and we, take integers first, as NumPy does when they stand alone."""
    width = lambda k: k.ndim if k.dtype == bool else 1  # noqa: E731
    first = [(slice(None),) * width(k) if isinstance(k, np.ndarray) else (k,) for k in key]
    then = [
        k if isinstance(k, np.ndarray) or k is Ellipsis else slice(None)
        for k in key
        if not isinstance(k, int)
    ]
    return tuple(k for ks in first for k in ks), tuple(then)


@pytest.mark.parametrize("advanced", [False, True], ids=["basic", "advanced"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_get(shape, advanced):
    rng = np.random.default_rng(11)
    a = rng.standard_normal(shape)
    t = fn.from_numpy(a)
    for _ in range(400):
        key = random_key(rng, shape, advanced)
        first, then = in_two_steps(key)
        want = a[first][then]
        for k in (ours(key), key):  # indices as tensors and as NumPy arrays
            got = t[k].numpy()
            assert got.shape == want.shape, key
            np.testing.assert_array_equal(got, want, str(key))
        if not advanced and want.size:
            assert np.shares_memory(t[key].numpy(), a), f"{key} must be a view"


@pytest.mark.parametrize("advanced", [False, True], ids=["basic", "advanced"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_set(shape, advanced):
    rng = np.random.default_rng(12)
    for _ in range(300):
        a = rng.standard_normal(shape)
        t = fn.tensor(a)
        key = random_key(rng, shape, advanced)
        first, then = in_two_steps(key)
        view = a[first]
        place = view[then]
        if not isinstance(view, np.ndarray):  # one element
            view, then = a, key
        value = rng.standard_normal(place.shape[int(rng.integers(place.ndim + 1)) :])
        if not advanced and place.ndim and rng.random() < 0.3:
            value = value[None, None]  # further dimensions of size 1
        view[then] = value
        t[ours(key)] = fn.tensor(value) if rng.random() < 0.7 else value
        np.testing.assert_array_equal(t.numpy(), a, str(key))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "int32", "uint8", "bool"])
def test_every_dtype(dtype):
    a = (np.arange(24).reshape(4, 6) % 5).astype(dtype)
    t = fn.tensor(a)
    rows = [2, 0, -1, 2]
    np.testing.assert_array_equal(t[rows].numpy(), a[rows])
    np.testing.assert_array_equal(t[a > 1].numpy(), a[a > 1])
    t[rows, 1] = 1
    a[rows, 1] = 1
    t[a == 0] = 1
    a[a == 0] = 1
    np.testing.assert_array_equal(t.numpy(), a)


def test_index_of_every_integer_type():
    t = fn.arange(5)
    for dtype in (fn.int64, fn.int32, fn.uint8):
        assert t[fn.tensor([3, 1]).to(dtype)].tolist() == [3, 1]
    assert t[[]].tolist() == []
    assert t[np.int64(2)].item() == 2
    assert t[fn.tensor(2)].item() == 2
    assert t[np.array([], np.int64)].shape == (0,)


def test_large_gather_and_scatter():
    rng = np.random.default_rng(1)
    a = rng.standard_normal((1009, 37)).astype(np.float32)
    i = rng.integers(-1009, 1009, 40_003)
    np.testing.assert_array_equal(fn.tensor(a)[fn.tensor(i)].numpy(), a[i])
    t = fn.tensor(a)
    values = rng.standard_normal((40_003, 37)).astype(np.float32)
    t[fn.tensor(i)] = fn.tensor(values)
    a[i] = values  # the last of equal indices stays
    np.testing.assert_array_equal(t.numpy(), a)


def test_overlapping_assignment():
    a = np.arange(10.0)
    t = fn.tensor(a)
    t[1:] = t[:-1]
    t[::-1] = t
    a[1:] = a[:-1].copy()
    a[::-1] = a.copy()
    np.testing.assert_array_equal(t.numpy(), a)


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (3, IndexError, "index 3 is out of range for dimension 0 of size 3"),
        (-4, IndexError, "index -4 is out of range"),
        ((0, 4), IndexError, "index 4 is out of range for dimension 1 of size 4"),
        ((0, 0, 0), IndexError, r"too many indices: 3 for a tensor of shape \(3, 4\)"),
        (2**62, IndexError, "out of range"),
        (2**70, IndexError, None),
        ((..., ...), IndexError, "ellipsis"),
        ([3], IndexError, "out of range"),
        ([0, -4], IndexError, "out of range"),
        ([2**62], IndexError, "out of range"),
        (
            ([3], slice(0)),
            IndexError,
            "index 3 is out of range for dimension 0 of size 3",
        ),  # and nothing selected
        (([-4], np.empty((0, 1), int)), IndexError, "index -4 is out of range for dimension 0"),
        ([0.5], IndexError, "integer or bool"),
        (True, IndexError, "bool tensor"),
        ("a", TypeError, "an index must be"),
        (0.5, TypeError, "an index must be"),
        (slice(0, 1, 0), ValueError, "zero"),
        (slice("a", None), TypeError, None),
        (np.ones((3, 5), bool), IndexError, None),
        (np.ones((3, 4, 1), bool), IndexError, "too many"),
        (([0, 1], [0, 1, 2]), (IndexError, ValueError), None),
    ],
    ids=repr,
)
def test_refused(key, error, message):
    t = fn.zeros(3, 4)
    with pytest.raises(error, match=message):
        t[key]
    with pytest.raises(error, match=message):
        t[key] = 1
    assert not t.numpy().any()


def test_refused_values():
    t = fn.zeros(3, 4)
    for key, value in [
        ((0,), np.ones(3)),
        ((slice(None), 0), np.ones(4)),
        (([0, 1],), np.ones((3, 4))),
        ((0, 0), np.ones(2)),
    ]:
        with pytest.raises(ValueError, match="shape"):
            t[key] = value
    with pytest.raises(TypeError):
        del t[0]
    with pytest.raises(IndexError):
        fn.tensor(1.0)[0]
    assert not t.numpy().any()


# ---- indices that change ------------------------------------------------------------------------------------------------


def test_indices_that_change_before_backward():
    """A gradient goes where the elements came from, whatever has become of the index since."""
    index = fn.tensor([1, 2, 3])
    x = fn.zeros(5, requires_grad=True)
    y = x[index]
    index.fill_(2**40)
    y.sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 0]

    along = fn.tensor([[1, 0, 1]])
    x = fn.zeros(2, 3, requires_grad=True)
    y = fn.gather(x, 0, along)
    along.fill_(-(2**40))
    y.sum().backward()
    assert x.grad.tolist() == [[0, 1, 0], [1, 0, 1]]

    index, mask = fn.tensor([2, 0]), fn.tensor([True, False, True])
    for key, want in [((index,), [0, 1, 0]), ((mask,), [0, 1, 0])]:
        for contiguous in (True, False):
            source = fn.zeros(*((3, 2) if contiguous else (2, 3)), requires_grad=True)
            written = source * 1 if contiguous else source.T * 1
            value = fn.zeros(2, 2, requires_grad=True)
            written[key] = value
            key[0].fill_(1 if key[0].dtype == fn.int64 else True)
            written.sum().backward()
            got = source.grad if contiguous else source.grad.T
            assert got.tolist() == [[w] * 2 for w in want]
            assert value.grad.tolist() == [[1, 1], [1, 1]]
            index.copy_(fn.tensor([2, 0]))
            mask.copy_(fn.tensor([True, False, True]))


def test_an_array_that_answers_differently_each_time():
    class Fickle:
        asked, ndim = 0, 1

        @property
        def __array_interface__(self):
            Fickle.asked += 1
            self.array = np.array([0]) if Fickle.asked < 6 else np.ones((1,) * 8, bool)
            return self.array.__array_interface__

    x = fn.zeros(*(1,) * 8)
    for begin in range(-3, 6):
        Fickle.asked = begin
        with contextlib.suppress(IndexError):  # too many indices
            assert x[(0,) * 7 + (Fickle(),)].shape == (1,)


def test_a_mask_and_an_index_that_another_thread_writes_meanwhile():
    mask = np.zeros(300_000, bool)
    index = np.zeros(300_000, np.int64)
    x, of_mask, of_index = fn.arange(300_000), fn.from_numpy(mask), fn.from_numpy(index)
    stop = threading.Event()

    def write():
        while not stop.is_set():
            mask[:] = True
            index[:] = 2**60
            mask[:] = False
            index[:] = 1

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(100):
            chosen = x[of_mask]
            assert (chosen[1:] > chosen[:-1]).all()
            fn.nonzero(of_mask)
            with contextlib.suppress(IndexError):
                assert set(x[of_index].numpy()) <= {0, 1}
    finally:
        stop.set()
        thread.join()


def test_the_first_index_out_of_range_is_named():
    x = fn.zeros(70_000)
    index = np.zeros(70_000, np.int64)
    index[[60_001, 65_000, 12_345]] = [70_000, -70_001, 70_002]
    for threads in (1, 2):
        fn.set_num_threads(threads)
        with pytest.raises(IndexError, match="index 70002 is out of range for dimension 0 of size 70000"):
            x[fn.from_numpy(index)]
    with pytest.raises(IndexError, match="index 0 is out of range for dimension 1 of size 0"):
        fn.zeros(3, 0)[fn.tensor([0]), fn.tensor([0])]


@pytest.mark.parametrize("contiguous", [True, False])
def test_a_place_that_is_written_twice_has_the_gradient_of_what_stands_there(contiguous):
    """Of several values for one place the last one stays, and it alone has a part in the result."""
    rng = np.random.default_rng(5)
    for key, shape in [
        ((np.array([0, 0, 2, 0]),), (4, 5)),
        ((slice(None), np.array([1, 1, 4, 1])), (3, 4)),
        ((np.array([0, 0, 2]), np.array([3, 3, 3])), (3,)),
        ((np.array([1, 1]), None), (2, 1, 5)),
        ((slice(1, None), np.array([0, 2])), (2, 2)),
        ((slice(None, None, -1), np.array([1, 1])), (3, 2)),
        ((2, slice(None, 1, -2), None), (2, 1)),
        ((np.array([1, 1]), slice(4, None, -3)), (2, 2)),
    ]:
        values = fn.tensor(rng.standard_normal(shape), requires_grad=True)
        weights = rng.standard_normal((3, 5))
        base = fn.zeros(3, 5, dtype=fn.float64) if contiguous else fn.zeros(5, 3, dtype=fn.float64).T * 1.0
        base[tuple(fn.tensor(k) if isinstance(k, np.ndarray) else k for k in key)] = values
        (base * fn.tensor(weights)).sum().backward()
        owner = np.full((3, 5), -1)
        owner[key] = np.arange(values.numel()).reshape(shape)
        want = np.zeros(values.numel())
        for place, at in np.ndenumerate(owner):
            if at >= 0:
                want[at] += weights[place]
        np.testing.assert_allclose(values.grad.numpy().ravel(), want)


def test_masks_without_dimensions():
    x, yes, no = fn.ones(3, 4), fn.tensor(True), fn.tensor(False)
    array = np.ones((3, 4))
    for key in [(yes,), (no,), (yes, yes), (yes, no), (yes,) * 8]:
        assert x[key].shape == array[tuple(bool(k.item()) for k in key)].shape
    with pytest.raises(IndexError, match="too many indices"):
        x[(yes,) * 9]


def test_steps_beyond_any_memory():
    """A step that is never taken is no stride: 2^62 elements are more bytes than a stride can count."""
    for key in (slice(None, None, 2**62), slice(1, None, -(2**62))):
        y = fn.arange(3.0)[key]
        np.testing.assert_array_equal(np.asarray(y), np.arange(3.0)[key])
        assert abs(y.stride()[0]) <= 1


def test_an_empty_view_begins_nowhere():
    assert fn.ones(4, 5)[4:, 3:].storage_offset() == 0
    assert fn.ones(0, 9)[:, 5:].T.contiguous().shape == (4, 0)


def test_a_recorded_write_of_slices_without_elements():
    x = fn.ones(4, 3, 0, requires_grad=True)
    value = fn.ones(2, 3, 0, requires_grad=True)
    y = x * 1
    y[[3, 3]] = value
    y.sum().backward()
    assert x.grad.shape == (4, 3, 0)
    assert value.grad.shape == (2, 3, 0)
