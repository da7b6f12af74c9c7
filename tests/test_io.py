"""Files hold what was put in, and what is damaged or foreign is refused."""

import json
import os
from pathlib import Path

import fastnn as fn
import numpy as np
import pytest
from fastnn import nn, optim

DTYPES = [fn.float32, fn.float64, fn.bfloat16, fn.float16, fn.int64, fn.int32, fn.uint8, fn.bool]
SHAPES = [(), (0,), (3, 0, 2), (1,), (7,), (2, 3, 4), (1, 1, 1, 1, 1, 1, 1, 2)]


def filled(shape, dtype):
    values = np.random.default_rng(len(shape)).integers(0, 2 if dtype is fn.bool else 100, shape)
    return fn.tensor(values).to(dtype)


def assert_same(a, b):
    assert a.dtype is b.dtype
    assert tuple(a.shape) == tuple(b.shape)
    assert a.to(fn.float64).tolist() == b.to(fn.float64).tolist()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "w.safetensors"


@pytest.fixture
def small(path):
    """The bytes of a small file that holds everything the format has."""
    fn.save(
        {"w": filled((2, 3), fn.float32), "b": filled((3,), fn.bfloat16), "k": fn.tensor([True, False])}, path
    )
    return path.read_bytes()


class TestRoundTrip:
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    def test_every_dtype_and_shape(self, path, dtype):
        tensors = {str(shape): filled(shape, dtype) for shape in SHAPES}
        fn.save(tensors, path)
        loaded = fn.load(path)
        assert list(loaded) == list(tensors)
        for name, tensor in tensors.items():
            assert_same(loaded[name], tensor)

    def test_views_and_gradients(self, path):
        t = fn.tensor(np.arange(24.0).reshape(2, 3, 4), requires_grad=True)
        fn.save({"a": t.permute(2, 0, 1), "b": t[:, 1, ::2]}, path)
        loaded = fn.load(path)
        assert_same(loaded["a"], t.detach().permute(2, 0, 1))
        assert_same(loaded["b"], t.detach()[:, 1, ::2])
        assert not loaded["a"].requires_grad

    def test_bits_of_special_values(self, path):
        bits = np.array([0x7FC00001, 0xFF800000, 0x80000000, 1, 0x7F800001], np.uint32)
        fn.save({"x": fn.from_numpy(bits.view(np.float32))}, path)
        np.testing.assert_array_equal(fn.load(path)["x"].numpy().view(np.uint32), bits)

    def test_one_tensor_under_two_names(self, path):
        t = filled((3,), fn.float32)
        fn.save({"a": t, "b": t}, path)
        assert_same(fn.load(path)["b"], t)

    def test_strange_names(self, path):
        names = ["", "a.b", "ä→", 'quo"te\\', "0" * 64, "fastnn.sha256", "\n"]
        fn.save({name: fn.tensor([float(i)]) for i, name in enumerate(names)}, path)
        assert [t.item() for t in fn.load(path).values()] == list(range(len(names)))

    def test_nested(self, path):
        state = {
            "model": {"0.weight": filled((2, 2), fn.float32)},
            "optimizer": {"state": {0: {"step": 7, "m": filled((2,), fn.float64)}}, "groups": [{"lr": 0.1}]},
            "betas": (0.9, float("inf")),
            "name": None,
            "flags": [True, [], {}, ()],
            "model.0": {"weight": filled((1,), fn.int64)},
        }
        fn.save(state, path)
        loaded = fn.load(path)
        for where in (("model", "0.weight"), ("model.0", "weight"), ("optimizer", "state", 0, "m")):
            ours, theirs = state, loaded
            for key in where[:-1]:
                ours, theirs = ours[key], theirs[key]
            assert_same(theirs.pop(where[-1]), ours.pop(where[-1]))
        assert loaded == state
        assert type(loaded["betas"]) is tuple

    def test_a_single_tensor(self, path):
        fn.save(filled((3,), fn.float32), path)
        assert_same(fn.load(path), filled((3,), fn.float32))

    def test_numbers_of_numpy_become_numbers(self, path):
        optimizer = optim.SGD(
            nn.Linear(2, 1).parameters(), lr=np.logspace(-3, -1, 3)[1], momentum=np.float32(0.5)
        )
        fn.save(optimizer.state_dict(), path)
        assert fn.load(path) == optimizer.state_dict()
        values = {
            "i": np.int64(3),
            "b": np.True_,
            "s": np.str_("x"),
            "l": [np.uint8(255)],
            np.int32(7): np.float64("inf"),
        }
        fn.save(values, path)
        loaded = fn.load(path)
        assert loaded == {"i": 3, "b": True, "s": "x", "l": [255], 7: float("inf")}
        assert [type(value) for value in loaded.values()] == [int, bool, str, list, float]
        with pytest.raises(TypeError, match="a is a complex"):
            fn.save({"a": np.complex128(1)}, path)

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ({"a": {"b": object()}}, r"a\.b is a object"),
            ({"a": np.zeros(3)}, r"a is a ndarray.*from_numpy"),
            ({"a": {1.5: 2}}, r"1\.5 \(in a\)"),
            ({"f": print}, "builtin_function"),
        ],
    )
    def test_other_values_are_refused_by_name(self, path, value, message):
        with pytest.raises(TypeError, match=message):
            fn.save(value, path)
        assert not path.exists()


class TestInterchange:
    """The safetensors package reads our files and we read its."""

    def test_with_numpy(self, path):
        safetensors = pytest.importorskip("safetensors.numpy")
        arrays = {
            "a": np.arange(6, dtype=np.float32).reshape(2, 3),
            "b": np.array([True]),
            "z": np.zeros((0, 3)),
        }
        fn.save({name: fn.tensor(array) for name, array in arrays.items()}, path)
        for name, array in safetensors.load_file(path).items():
            np.testing.assert_array_equal(array, arrays[name])
            assert array.dtype == arrays[name].dtype
        safetensors.save_file(arrays, path, {"made by": "somebody"})
        for name, tensor in fn.load(path).items():
            np.testing.assert_array_equal(tensor.numpy(), arrays[name])

    def test_with_torch(self, path):
        torch = pytest.importorskip("torch")
        safetensors = pytest.importorskip("safetensors.torch")
        kinds = [torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.int64, torch.int32]
        theirs = {str(kind): torch.arange(5).to(kind) for kind in kinds}
        safetensors.save_file(theirs, path)
        ours = fn.load(path)
        fn.save(ours, path)
        for name, tensor in safetensors.load_file(path).items():
            assert tensor.dtype is theirs[name].dtype
            assert torch.equal(tensor, theirs[name])


class TestDamage:
    def test_every_flipped_bit_is_noticed(self, path, small):
        for bit in range(len(small) * 8):
            bad = bytearray(small)
            bad[bit // 8] ^= 1 << bit % 8
            path.write_bytes(bad)
            with pytest.raises(ValueError, match=str(path)):
                fn.load(path)

    def test_every_truncation_is_noticed(self, path, small):
        for length in range(len(small)):
            path.write_bytes(small[:length])
            with pytest.raises(ValueError, match=str(path)):
                fn.load(path)

    def test_additions_are_noticed(self, path, small):
        path.write_bytes(small + b"\0")
        with pytest.raises(ValueError, match="holds"):
            fn.load(path)

    def test_the_undamaged_file_loads(self, path, small):
        assert len(small) < 600
        path.write_bytes(small)
        assert sorted(fn.load(path)) == ["b", "k", "w"]


def foreign(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(dtype="F32", shape=(1,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


HOSTILE = {
    "header beyond the file": foreign(b"{}", length=3),
    "header of 2^63 bytes": foreign(b"{}", length=2**63),
    "header of no bytes": foreign(b""),
    "no JSON": foreign(b"{]"),
    "no UTF-8": foreign(b'{"\xff": 1}'),
    "no object": foreign(b"[]"),
    "NaN": foreign(b'{"a": NaN}'),
    "nested without end": foreign(b'{"a":' + b"[" * 200_000),
    "a number of 5000 digits": foreign(b'{"a":' + b"9" * 5000 + b"}"),
    "a name twice": foreign(b'{"a":%(e)s,"a":%(e)s}' % {b"e": json.dumps(entry()).encode()}, bytes(4)),
    "no fields": foreign({"a": {}}),
    "a field too many": foreign({"a": {**entry(), "code": "print()"}}, bytes(4)),
    "unknown dtype": foreign({"a": entry("F8_E4M3", offsets=(0, 1))}, bytes(1)),
    "dtype of another type": foreign({"a": entry(3)}, bytes(4)),
    "negative size": foreign({"a": entry(shape=(-1, -1))}, bytes(4)),
    "fractional size": foreign({"a": entry(shape=(1.0,))}, bytes(4)),
    "a bool for a size": foreign({"a": entry(shape=(True,))}, bytes(4)),
    "2^62 elements": foreign({"a": entry(shape=(2**62,), offsets=(0, 2**64))}, bytes(4)),
    "2^62 elements, offsets overflowed": foreign({"a": entry(shape=(2**62,), offsets=(0, 0))}),
    "product overflows to 1": foreign({"a": entry(shape=(2**32 + 1, 2**32 - 1, 1))}, bytes(4)),
    "more bytes than the shape has": foreign({"a": entry(offsets=(0, 8))}, bytes(8)),
    "declares 4 TB": foreign({"a": entry(shape=(2**40,), offsets=(0, 2**42))}, bytes(4)),
    "nine dimensions": foreign({"a": entry(shape=(1,) * 9)}, bytes(4)),
    "offsets backwards": foreign({"a": entry(offsets=(4, 0))}, bytes(4)),
    "offsets beyond the file": foreign({"a": entry(offsets=(4, 8))}, bytes(4)),
    "one offset": foreign({"a": {**entry(), "data_offsets": [0]}}, bytes(4)),
    "overlap": foreign({"a": entry(), "b": entry()}, bytes(4)),
    "gap": foreign({"a": entry(), "b": entry(offsets=(8, 12))}, bytes(12)),
    "unclaimed bytes": foreign({"a": entry()}, bytes(8)),
    "metadata of numbers": foreign({"__metadata__": {"a": 1}}),
    "metadata that is a list": foreign({"__metadata__": []}),
    "a bool of 2": foreign({"a": entry("BOOL", offsets=(0, 1))}, b"\2"),
    "our version without checksum": foreign({"__metadata__": {"fastnn.version": "1"}}),
    "our tree without checksum": foreign({"__metadata__": {"fastnn.tree": '{"tensor":"a"}'}}),
    "a newer version": foreign({"__metadata__": {"fastnn.version": "2", "fastnn.sha256": "0" * 64}}),
}


class TestHostileFiles:
    @pytest.mark.parametrize("name", HOSTILE)
    def test_headers(self, path, name):
        path.write_bytes(HOSTILE[name])
        with pytest.raises(ValueError, match=str(path)):
            fn.load(path)

    def test_what_is_right_loads(self, path):
        path.write_bytes(foreign({"a": entry(), "b": entry(offsets=(4, 8))}, bytes(8)))
        assert fn.load(path)["b"].tolist() == [0.0]

    def test_nothing_is_allocated_for_declared_sizes(self, path):
        import tracemalloc

        path.write_bytes(HOSTILE["declares 4 TB"])
        tracemalloc.start()
        with pytest.raises(ValueError, match="cut off"):
            fn.load(path)
        assert tracemalloc.get_traced_memory()[1] < 1e6
        tracemalloc.stop()

    def test_pickles_are_refused_and_named(self, path):
        class Bomb:
            def __reduce__(self):
                return os.mkdir, (str(path) + ".exploded",)

        import pickle

        for protocol in range(2, 6):
            path.write_bytes(pickle.dumps([Bomb()], protocol))
            with pytest.raises(ValueError, match=r"pickle.*runs code.*safetensors\.torch\.save_file"):
                fn.load(path)
        assert not Path(str(path) + ".exploded").exists()

    def test_torch_files_are_named(self, path):
        torch = pytest.importorskip("torch")
        torch.save({"a": torch.ones(3)}, path)
        with pytest.raises(ValueError, match=r"torch\.save"):
            fn.load(path)

    def test_npy_files_are_named(self, path):
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
        with pytest.raises(ValueError, match="NumPy"):
            fn.load(path)

    def test_what_is_no_file(self, tmp_path, path):
        with pytest.raises(FileNotFoundError, match=r"w\.safetensors"):
            fn.load(path)
        with pytest.raises(IsADirectoryError):
            fn.load(tmp_path)
        os.mkfifo(path)
        with pytest.raises(ValueError, match="pipe"):
            fn.load(path)


class TestHalvesOfCharacters:
    """JSON spells what UTF-8 cannot."""

    def test_names_that_hold_one(self, path):
        """JSON in JSON keeps them; the tensor gets another name in the file."""
        values = {"\ud800": fn.ones(1), "note": ["\udfff"]}
        fn.save(values, path)
        loaded = fn.load(path)
        assert loaded["\ud800"].tolist() == [1]
        assert loaded["note"] == ["\udfff"]

    def test_none_is_read(self, path):
        header = b'{"\\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}'
        path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
        with pytest.raises(ValueError, match="half of a character"):
            fn.load(path)
        whole = header.replace(b"\\ud800", b"\\ud83d\\ude00")
        path.write_bytes(len(whole).to_bytes(8, "little") + whole + b"\0")
        assert list(fn.load(path)) == ["😀"]


def test_containers_that_contain_themselves(tmp_path):
    path = tmp_path / "x.safetensors"
    state, items, deep = {"epoch": 1}, [1], fn.ones(1)
    state["best"] = {"from": [state]}
    items.append((2, items))
    with pytest.raises(ValueError, match=r"^save: best\.from\.0 is a dict that contains itself"):
        fn.save(state, path)
    with pytest.raises(ValueError, match=r"^save: a\.1\.1 is a list that contains itself"):
        fn.save({"a": items}, path)
    assert not path.exists()
    twice = [fn.ones(1)]
    fn.save({"a": [twice, twice], "b": twice}, path)  # which is no cycle
    assert [len(part) for part in fn.load(path)["a"]] == [1, 1]
    for _ in range(100):
        deep = {"k": deep}
    fn.save(deep, path)
    assert str(fn.load(path)) == str(deep)
    with pytest.raises(ValueError, match=r"^save: containers are nested more than 100 deep at k\.k\.k"):
        fn.save({"k": deep}, path)


def test_paths_of_bytes(tmp_path):
    path, model = os.fsencode(tmp_path / "x.safetensors"), nn.Linear(2, 1)
    fn.save({"a": fn.ones(2)}, path)
    assert fn.load(path)["a"].tolist() == [1, 1]
    fn.save_model(model, path)
    assert fn.load_model(path).weight.tolist() == model.weight.tolist()
    with pytest.raises(FileNotFoundError, match="'none/x'"):
        fn.save({}, b"none/x")
    (tmp_path / "page").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=f"^{tmp_path}/page: "):
        fn.load(os.fsencode(tmp_path / "page"))
