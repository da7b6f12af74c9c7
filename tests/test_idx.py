"""The IDX format and Fashion-MNIST."""

import gzip
import struct
import sys

import numpy as np
import pytest
from fastnn.data import (
    load_fashion_mnist,
    read_idx,
)


def idx(array, code=8):
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


class TestIdx:
    @pytest.mark.parametrize("packed", [False, True])
    @pytest.mark.parametrize(
        ("code", "dtype"), [(8, "u1"), (9, "i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")]
    )
    def test_round_trip(self, tmp_path, packed, code, dtype):
        array = np.arange(24).reshape(2, 3, 4).astype(dtype)
        data = idx(array, code)
        (tmp_path / "a").write_bytes(gzip.compress(data) if packed else data)
        read = read_idx(tmp_path / "a")
        np.testing.assert_array_equal(read, array)
        assert read.dtype.isnative
        assert read.flags.writeable

    @pytest.mark.parametrize("packed", [False, True])
    def test_every_truncation_and_every_addition_is_noticed(self, tmp_path, packed):
        data = idx(np.arange(24, dtype=np.uint8).reshape(4, 6))
        data = gzip.compress(data) if packed else data
        path = tmp_path / "a"
        for bad in [*(data[:n] for n in range(len(data))), data + b"\1"]:
            path.write_bytes(bad)
            with pytest.raises(ValueError, match=str(path)):
                read_idx(path)

    def test_every_flipped_bit_of_packed_data_is_noticed(self, tmp_path):
        data = gzip.compress(idx(np.arange(24, dtype=np.uint8).reshape(4, 6)))
        expected, path, noticed = np.arange(24).reshape(4, 6), tmp_path / "a", 0
        for position in range(len(data) * 8):
            bad = bytearray(data)
            bad[position // 8] ^= 1 << position % 8
            path.write_bytes(bad)
            try:
                read = read_idx(path)
            except ValueError:
                noticed += 1
            else:
                np.testing.assert_array_equal(read, expected)  # some bits of the gzip header mean nothing
        assert noticed >= (len(data) - 10) * 8

    @pytest.mark.parametrize(
        "sizes", [(2**32 - 1,), (2**32 - 1,) * 8, (2**16, 2**16, 2**16, 2**16), (10**6, 10**6), (2**31, 0, 2)]
    )
    def test_declared_sizes_are_checked_before_memory_is_asked_for(self, tmp_path, sizes):
        data = bytes([0, 0, 14, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes) + bytes(100)
        for content in (data, gzip.compress(data)):
            (tmp_path / "a").write_bytes(content)
            with pytest.raises(ValueError, match=r"declares|more than"):
                read_idx(tmp_path / "a")


class TestFashionMnist:
    @pytest.fixture
    def small(self, tmp_path, monkeypatch):
        """A folder with files of the right shape; two images differ from 0."""
        for part, n in (("train", 60_000), ("t10k", 10_000)):
            images = np.zeros((n, 28, 28), np.uint8)
            images[1, 2, 3] = 51
            (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
            (tmp_path / f"{part}-labels-idx1-ubyte").write_bytes(idx((np.arange(n) % 10).astype(np.uint8)))
        monkeypatch.setenv("FASTNN_DATA", str(tmp_path))
        return tmp_path

    def test_is_found_in_the_environments_folder(self, small):
        train, test = load_fashion_mnist()
        x, y = train.arrays
        assert x.shape == (60_000, 1, 28, 28)
        assert len(test) == 10_000
        assert x.dtype == np.float32
        assert x[1, 0, 2, 3] == np.float32(0.2)
        assert x.sum() == x[1, 0, 2, 3]
        assert y[13] == 3
        assert y.dtype == np.int64
        assert train.classes[9] == "Ankle boot"

    def test_wrong_contents_are_refused(self, small):
        path = small / "t10k-labels-idx1-ubyte"
        path.write_bytes(idx(np.full(10_000, 10, np.uint8)))
        with pytest.raises(ValueError, match="label 10"):
            load_fashion_mnist()
        path.write_bytes(idx(np.zeros(9_999, np.uint8)))
        with pytest.raises(ValueError, match="shape"):
            load_fashion_mnist()

    def test_the_error_says_what_to_do(self, tmp_path, monkeypatch):
        monkeypatch.setattr("fastnn.data.fashion_mnist._SYSTEM", tmp_path / "nowhere")
        monkeypatch.delenv("FASTNN_DATA", raising=False)
        monkeypatch.setitem(sys.modules, "pooch", None)
        with pytest.raises(FileNotFoundError, match=r"dataset-fashion-mnist.*pip install pooch.*FASTNN_DATA"):
            load_fashion_mnist()

    def test_the_real_files_where_installed(self, monkeypatch):
        monkeypatch.delenv("FASTNN_DATA", raising=False)
        monkeypatch.setitem(sys.modules, "pooch", None)
        try:
            train, test = load_fashion_mnist()
        except FileNotFoundError:
            pytest.skip("Fashion-MNIST is not installed here")
        assert np.bincount(train.arrays[1]).tolist() == [6000] * 10
        assert np.bincount(test.arrays[1]).tolist() == [1000] * 10
        assert train.classes[train[0][1]] == "Ankle boot"
        np.testing.assert_allclose(
            train.arrays[0].mean(), 0.2860, atol=1e-4
        )  # the published mean of the pixels
