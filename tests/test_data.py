"""Data sets, splits and batches."""

import fastnn as fn
import numpy as np
import pytest
from fastnn.data import (
    ArrayDataset,
    DataLoader,
    Dataset,
    Subset,
    load_digits,
    random_split,
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

    @pytest.mark.parametrize(
        ("sample", "shapes"),
        [
            ([1.0, 2.0, 3.0], [(3,)]),
            ([[1, 2], [3, 4]], [(2, 2)]),
            ([np.float32(1), np.float32(2)], [(2,)]),
            ([[1.0, 2.0], 0], [(2,), ()]),
            ([np.zeros(2), 1], [(2,), ()]),
            ([fn.zeros(2), 1], [(2,), ()]),
            ([np.zeros((3, 4)), np.zeros((3, 5))], [(3, 4), (3, 5)]),
            ((1.0, 2.0), [(), ()]),
        ],
    )
    def test_a_sample_that_is_a_list(self, sample, shapes):
        """A list of numbers is a row, as in a list of samples; a list that holds arrays is a tuple of them."""

        class Same(Dataset):
            def __len__(self):
                return 4

            def __getitem__(self, index):
                return sample

        batch = next(iter(DataLoader(Same(), 2)))
        assert [tuple(column.shape) for column in batch] == [(2, *shape) for shape in shapes]

    def test_dicts_and_text_are_refused(self):
        with pytest.raises(TypeError, match=r"not dict; give its arrays as a tuple: \(x, y\)"):
            DataLoader({"x": X, "y": Y})
        with pytest.raises(TypeError, match="expected arrays or a data set, not str"):
            DataLoader("abc")

        class Named(Dataset):
            def __len__(self):
                return 4

            def __getitem__(self, index):
                return {"x": X[index], "y": Y[index]}

        with pytest.raises(
            TypeError, match=r"a sample must be a tuple of arrays, such as \(x, y\), .*not a dict"
        ):
            next(iter(DataLoader(Named())))

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

    @pytest.mark.parametrize("dtype", ["i1", "i2", ">i2", "u2", "u4", ">u4", "u8", ">i8"])
    def test_integers_that_tensors_lack_become_int64(self, dtype):
        labels = np.array([0, 1, 100], dtype)
        ((y,),) = DataLoader((labels,))
        assert y.dtype is fn.int64
        assert y.tolist() == [0, 1, 100]
        ((y,),) = DataLoader((labels.astype(">f4"),))
        assert y.dtype is fn.float32
        with pytest.raises(TypeError, match="dtype uint64 has no counterpart"):
            next(iter(DataLoader((np.array([2**63], np.uint64),))))

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

    def test_a_list_holds_samples(self):
        x, y = next(iter(DataLoader([(0.0, 0.0), (1.0, 1.0), (2.0, 4.0)])))
        assert (x.tolist(), y.tolist()) == ([0, 1, 2], [0, 1, 4])
        (x,) = next(iter(DataLoader([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])))
        assert x.tolist() == [[1, 2], [3, 4], [5, 6]]
        x, y = next(iter(DataLoader([(X[0], 3), (X[1], 4)])))
        assert (tuple(x.shape), y.tolist()) == ((2, *X.shape[1:]), [3, 4])
        x, y = next(iter(DataLoader([X, Y])))  # they can be no samples
        assert (len(x), len(y)) == (10, 10)
        for unclear in ([X[0], X[1]], [X], [[1, 2], [3]]):
            with pytest.raises(TypeError, match="a list"):
                DataLoader(unclear)

    @pytest.mark.parametrize("base", [Dataset, object])
    def test_a_sample_may_be_one_array(self, base):
        class Rows(base):
            def __len__(self):
                return 3

            def __getitem__(self, index):
                return X[index]

        batch = next(iter(DataLoader(Rows())))
        assert len(batch) == 1
        np.testing.assert_array_equal(batch[0].numpy(), X[:3])

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

    def test_random_split_of_arrays(self):
        parts = random_split((X, Y), [6, 4], seed=3)
        assert sorted(int(sample[1]) for part in parts for sample in part) == sorted(Y.tolist())

    @pytest.mark.parametrize("sizes", [[5, 4], [0.5, 0.4], [], [11, -1], [0.5, np.nan]])
    def test_random_split_sizes_must_fit(self, sizes):
        with pytest.raises(ValueError, match="split"):
            random_split(ArrayDataset(X, Y), sizes)

    def test_random_split_tells_how_it_is_called(self):
        for arguments in ((X, Y), (X, X), ((X, Y), 0.8), ((X, Y), 5), ((X, Y), "ab")):
            with pytest.raises(
                (TypeError, ValueError), match=r"random_split\(\(x, y\), \[0\.8, 0\.2\]\)"
            ) as caught:
                random_split(*arguments)
            assert len(str(caught.value)) < 220
        with pytest.raises(ValueError, match=r"must be numbers >= 0, not \['a', 'b'\]"):
            random_split((X, Y), ["a", "b"])

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

    def test_kinds_of_numbers_as_a_size(self):
        expected = [part.tolist() for part in train_test_split(X, Y, test_size=0.25)]
        for size in (np.float32(0.25), np.float64(0.25), np.float16(0.25), 2, np.int8(2), np.uint64(2)):
            assert [part.tolist() for part in train_test_split(X, Y, test_size=size)] == expected
        for size in (True, np.True_, "0.25", None, [0.25]):
            with pytest.raises(TypeError, match="test_size must be a fraction or a count of samples"):
                train_test_split(X, test_size=size)

    @pytest.mark.parametrize("size", [0.0, 1.0, 0, 10, 0.01, -0.5, float("nan")])
    def test_empty_parts_are_refused(self, size):
        with pytest.raises(ValueError, match="test_size"):
            train_test_split(X, test_size=size)


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


def test_a_subset_by_a_mask():
    data = ArrayDataset(X, Y)
    mask = np.zeros(len(data), bool)
    mask[[2, 5]] = True
    for given in (mask, mask.tolist(), fn.tensor(mask)):
        assert Subset(data, given).indices.tolist() == [2, 5]
    assert len(Subset(data, [])) == 0
    with pytest.raises(IndexError, match="a mask of 3 for a data set of 10"):
        Subset(data, mask[:3])
    with pytest.raises(TypeError, match="integers or a mask, not float64"):
        Subset(data, [0.5, 1.9])
