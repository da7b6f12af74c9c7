"""Data sets, splits, batches, transforms and the IDX format."""

import gzip
import struct
import sys

import fastnn as fn
import numpy as np
import pytest
from fastnn.data import (
    ArrayDataset,
    Compose,
    DataLoader,
    Dataset,
    Log1p,
    Reshape,
    Resize,
    Standardize,
    Subset,
    ToFloat,
    ToImages,
    load_digits,
    load_fashion_mnist,
    random_split,
    read_idx,
    train_test_split,
)
from fastnn.data.order import permutation, shares

X = np.arange(20, dtype=np.float32).reshape(10, 2)
Y = np.arange(10)


def order_of(loader):
    return [int(label) for _, y in loader for label in y.numpy()]


class TestDataset:
    def test_a_batch_is_the_rows_asked_for(self):
        x, y = ArrayDataset(X, Y).take(np.array([3, 0, 3]))
        assert x.tolist() == [[6, 7], [0, 1], [6, 7]]
        assert y.tolist() == [3, 0, 3]

    def test_one_sample(self):
        data = ArrayDataset(X, Y)
        assert data[-1][1] == 9
        assert data[0][0].tolist() == [0, 1]
        with pytest.raises(IndexError, match="10"):
            data[10]

    def test_tensors_are_not_copied(self):
        t = fn.ones(4, 2)
        assert np.shares_memory(ArrayDataset(t).arrays[0], t.numpy())

    @pytest.mark.parametrize("arrays", [(), (X, Y[:9]), (X, np.float32(3))])
    def test_lengths_must_agree(self, arrays):
        with pytest.raises(ValueError, match="ArrayDataset"):
            ArrayDataset(*arrays)

    def test_transform_sees_the_first_array_of_a_batch(self):
        data = ArrayDataset(X, Y, transform=lambda x: x * 10)
        assert data.take(np.array([1]))[0].tolist() == [[20, 30]]
        assert data[1][1] == 1

    def test_own_data_sets_are_stacked(self):
        class Squares(Dataset):
            def __len__(self):
                return 5

            def __getitem__(self, index):
                return np.float32(index), index * index

        batches = [(x.tolist(), y.tolist()) for x, y in DataLoader(Squares(), batch_size=3)]
        assert batches == [([0, 1, 2], [0, 1, 4]), ([3, 4], [9, 16])]

    def test_any_object_with_length_and_index_will_do(self):
        class Foreign:
            def __len__(self):
                return 3

            def __getitem__(self, index):
                return [np.zeros(2), index]

        assert order_of(DataLoader(Foreign())) == [0, 1, 2]

    def test_subset(self):
        part = Subset(ArrayDataset(X, Y), [9, 0])
        assert len(part) == 2
        assert part[0][1] == 9
        assert part.take(np.array([1]))[1].tolist() == [0]
        with pytest.raises(IndexError):
            Subset(ArrayDataset(X, Y), [10])


class TestLoader:
    def test_batches_cover_the_data_once(self):
        loader = DataLoader((X, Y), batch_size=3, shuffle=True, seed=4)
        assert [len(y) for _, y in loader] == [3, 3, 3, 1]
        assert len(loader) == 4
        assert sorted(order_of(loader)) == list(range(10))

    def test_rows_stay_together(self):
        for x, y in DataLoader((X, Y), batch_size=4, shuffle=True):
            np.testing.assert_array_equal(x.numpy()[:, 0], 2 * y.numpy())

    def test_drop_last(self):
        loader = DataLoader((X, Y), batch_size=3, drop_last=True)
        assert [len(y) for _, y in loader] == [3, 3, 3]
        assert len(loader) == 3

    def test_batches_do_not_share_memory_with_the_data(self):
        data = X.copy()
        for (x,) in DataLoader(data):
            x.fill_(7)
        np.testing.assert_array_equal(data, X)

    def test_order_is_a_function_of_seed_and_epoch(self):
        a, b = (DataLoader((X, Y), batch_size=3, shuffle=True, seed=1) for _ in range(2))
        first, second = order_of(a), order_of(a)
        assert first != second
        assert [first, second] == [order_of(b), order_of(b)]
        assert b.order(0).tolist() == first
        assert b.order(1).tolist() == second
        assert order_of(DataLoader((X, Y), shuffle=True, seed=2)) != first

    def test_order_never_changes_between_releases(self):
        assert permutation(10, 0).tolist() == [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]

    @pytest.mark.parametrize("stop", range(9))
    def test_resuming_continues_with_the_next_batch(self, stop):
        whole = DataLoader((X, Y), batch_size=3, shuffle=True, seed=5)
        expected = [y.tolist() for _ in range(3) for _, y in whole]
        first = DataLoader((X, Y), batch_size=3, shuffle=True, seed=5)
        seen, state = [], first.state_dict()
        while len(seen) < stop:
            for _, y in first:
                seen.append(y.tolist())
                if len(seen) == stop:
                    break
        state = first.state_dict()
        second = DataLoader((X, Y), batch_size=3, shuffle=True)
        second.load_state_dict(state)
        while len(seen) < len(expected):
            seen += [y.tolist() for _, y in second]
        assert seen == expected

    def test_leaving_a_loop_early_ends_the_epoch(self):
        loader = DataLoader((X, Y), batch_size=3, shuffle=True, seed=5)
        for _ in loader:
            break
        assert order_of(loader) == loader.order(1).tolist()

    def test_state_of_another_batch_size_is_refused(self):
        with pytest.raises(ValueError, match="batches"):
            DataLoader(X, batch_size=4).load_state_dict(DataLoader(X, batch_size=3).state_dict())

    def test_bad_arguments(self):
        with pytest.raises(ValueError, match="batch_size"):
            DataLoader(X, batch_size=0)
        with pytest.raises(TypeError, match="arrays"):
            DataLoader(3)

    def test_empty(self):
        assert list(DataLoader(X[:0])) == []
        assert len(DataLoader(X[:0])) == 0


class TestSplits:
    def test_random_split_parts_are_disjoint_and_complete(self):
        parts = random_split(ArrayDataset(X, Y), [0.5, 0.3, 0.2], seed=3)
        indices = [part.indices.tolist() for part in parts]
        assert [len(part) for part in parts] == [5, 3, 2]
        assert sorted(index for part in indices for index in part) == list(range(10))
        assert indices == [
            part.indices.tolist() for part in random_split(ArrayDataset(X, Y), [5, 3, 2], seed=3)
        ]
        assert indices != [
            part.indices.tolist() for part in random_split(ArrayDataset(X, Y), [5, 3, 2], seed=4)
        ]

    @pytest.mark.parametrize("sizes", [[5, 4], [0.5, 0.4], [], [11, -1], [0.5, np.nan]])
    def test_random_split_sizes_must_fit(self, sizes):
        with pytest.raises(ValueError, match="split"):
            random_split(ArrayDataset(X, Y), sizes)

    @pytest.mark.parametrize("total", [0, 1, 7, 100, 1797])
    def test_shares_are_within_one_of_exact(self, total):
        for parts in ([0.2] * 5, [1 / 3] * 3, [0.999, 0.001]):
            counts = shares(total, parts)
            assert sum(counts) == total
            assert all(abs(count - part * total) < 1 for count, part in zip(counts, parts, strict=True))

    def test_stratified_split_keeps_proportions(self):
        rng = np.random.default_rng(0)
        labels = rng.choice(4, 1000, p=[0.7, 0.2, 0.09, 0.01])
        rows = np.arange(1000)
        train, test, _, test_labels = train_test_split(rows, labels, test_size=0.3, stratify=labels)
        assert len(test) == 300
        assert np.intersect1d(train, test).size == 0
        assert len(train) == 700
        np.testing.assert_array_equal(labels[test], test_labels)
        exact = np.bincount(labels) * 0.3
        assert (abs(np.bincount(test_labels, minlength=4) - exact) < 1).all()

    def test_a_split_is_random_and_a_function_of_its_seed(self):
        rows = np.arange(20)
        tests = [train_test_split(rows, test_size=5, seed=seed)[1].tolist() for seed in (0, 0, 1)]
        assert tests == [[0, 2, 9, 11, 17], [0, 2, 9, 11, 17], [2, 3, 5, 7, 9]]

    @pytest.mark.parametrize("size", [0.0, 1.0, 0, 10, 0.01, -0.5])
    def test_empty_parts_are_refused(self, size):
        with pytest.raises(ValueError, match="test_size"):
            train_test_split(X, test_size=size)


class TestTransforms:
    def test_to_float(self):
        assert ToFloat()(np.array([0, 255], np.uint8)).tolist() == [0, 1]
        assert ToFloat()(np.array([0.25, 7])).tolist() == [0.25, 7]
        assert ToFloat(0.5)(np.array([4], np.uint8)).tolist() == [2]

    @pytest.mark.parametrize("shape", [(50, 3), (50, 3, 4, 5)])
    def test_standardize_makes_mean_0_and_deviation_1(self, shape):
        x = np.random.default_rng(1).normal(5, 3, shape) * np.array([1, 10, 100]).reshape(
            3, *[1] * (len(shape) - 2)
        )
        y = Standardize.fit(x)(x.astype(np.float32))
        axes = (0, *range(2, len(shape)))
        np.testing.assert_allclose(y.mean(axes), 0, atol=1e-5)
        np.testing.assert_allclose(y.std(axes), 1, atol=1e-5)

    def test_standardize_keeps_constant_columns_finite(self):
        x = np.ones((5, 2), np.float32)
        assert (Standardize.fit(x)(x) == 0).all()

    def test_standardize_refuses_other_channels(self):
        with pytest.raises(ValueError, match="3 channels"):
            Standardize([1, 2, 3], [1, 1, 1])(np.zeros((2, 4), np.float32))

    def test_log1p(self):
        np.testing.assert_allclose(Log1p()(np.array([0, 9, -9.0])), [0, np.log(10), -np.log(10)], rtol=1e-6)

    def test_reshape_and_compose(self):
        assert Compose(Reshape(2, 1), ToFloat())(X).shape == (10, 2, 1)
        with pytest.raises(ValueError, match="reshape"):
            Reshape(3)(X)

    @pytest.mark.parametrize("size", [(8, 8), (28, 28), (61, 7), (100, 53), (1, 1), (37, 53)])
    def test_resize_is_pillows_bilinear(self, size):
        image = pytest.importorskip("PIL.Image")
        x = np.random.default_rng(2).random((37, 53)).astype(np.float32)
        expected = np.asarray(image.fromarray(x).resize(size[::-1], image.Resampling.BILINEAR))
        np.testing.assert_allclose(Resize(*size)(x[None, None])[0, 0], expected, atol=1e-6)


class TestToImages:
    digit = np.zeros((8, 8), np.uint8)
    digit[1:7, 3:5] = 255

    @pytest.mark.parametrize(
        "layout",
        [
            lambda d: d,
            lambda d: d[None],
            lambda d: d[None, None],
            lambda d: d[None, :, :, None],
            lambda d: np.repeat(d[None, :, :, None], 3, axis=3),
            lambda d: np.repeat(d[None, None], 3, axis=1),
            lambda d: d.reshape(1, 64),
            lambda d: d / 255,
            lambda d: d > 0,
            lambda d: d.astype(np.uint16) * 257,
            lambda d: np.concatenate(
                [np.repeat(d[None, :, :, None], 3, 3), np.full((1, 8, 8, 1), 255, np.uint8)], 3
            ),
        ],
    )
    def test_every_layout_gives_the_same_images(self, layout):
        for ink in (False, True):
            y = ToImages((1, 8, 8), ink)(layout(self.digit))
            assert y.dtype == np.float32
            np.testing.assert_allclose(y, self.digit[None, None] / 255, atol=1e-6)

    def test_grey_becomes_three_channels(self):
        assert ToImages((3, 8, 8))(self.digit).shape == (1, 3, 8, 8)

    def test_transparent_parts_are_paper(self):
        picture = np.zeros((1, 8, 8, 4), np.uint8)  # black, and where alpha is 0, invisible
        picture[..., 3] = self.digit
        np.testing.assert_allclose(ToImages((1, 8, 8), ink=True)(picture)[0, 0], self.digit / 255, atol=1e-6)

    @pytest.mark.parametrize("paper", [0, 255])
    def test_ink_is_found_wherever_it_is(self, paper):
        page = np.full((90, 200), paper, np.uint8)
        page[20:60, 120:160] = 255 - paper  # a square of ink fills the image
        np.testing.assert_allclose(ToImages((1, 8, 8), ink=True)(page), 1, atol=1e-6)

    def test_a_bar_is_centred(self):
        page = np.zeros((100, 100), np.uint8)
        page[10:90, 2:22] = 255
        y = ToImages((1, 8, 8), ink=True)(page)[0, 0]
        np.testing.assert_allclose(y, y[:, ::-1], atol=1e-6)
        assert (y[:, 3:5] > 0.8).all()
        assert (y[:, :2] < 0.1).all()

    def test_blank_page(self):
        assert (ToImages((1, 8, 8), ink=True)(np.full((30, 30), 255, np.uint8)) == 0).all()

    @pytest.mark.parametrize(
        "bad",
        [
            np.zeros(64),
            np.zeros((2, 5, 8, 8)),
            np.zeros((2, 1, 0, 8)),
            np.full((8, 8), np.nan),
            np.full((8, 8), 16.0),
            np.full((8, 8), -1),
            np.full((8, 8), 1j),
            np.full((8, 8), "x"),
        ],
    )
    def test_other_input_is_refused(self, bad):
        with pytest.raises(ValueError, match=r"shape|0\.\.1"):
            ToImages((1, 8, 8))(bad)

    def test_no_images(self):
        assert ToImages((1, 8, 8), ink=True)(np.zeros((0, 1, 20, 20))).shape == (0, 1, 8, 8)


def test_digits():
    train, test = load_digits()
    (x, y), (x_test, y_test) = train.arrays, test.arrays
    assert x.shape == (1438, 1, 8, 8)
    assert x_test.shape == (359, 1, 8, 8)
    assert train.classes == tuple("0123456789")
    assert x.dtype == np.float32
    assert y.dtype == np.int64
    assert x.min() == 0
    assert x.max() == 1
    assert abs(np.bincount(y_test) - np.bincount(y) / 4).max() < 1
    assert not {image.tobytes() for image in x} & {image.tobytes() for image in x_test}
    everything = np.concatenate([x, x_test])
    assert (everything * 16).sum() == 561_718  # of scikit-learn's copy


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
