"""Transforms of batches."""

import fastnn as fn
import numpy as np
import pytest
from fastnn.data import (
    Compose,
    Log1p,
    Reshape,
    Resize,
    Standardize,
    ToFloat,
    ToImages,
)
from test_data import X


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

    def test_standardize_of_large_numbers(self):
        x = 1.7e9 + np.arange(20.0)[:, None]  # seconds since 1970
        expected = (x - x.mean()) / x.std()
        for data in (x, x.astype(np.int64)):
            y = Standardize.fit(data)(data)
            assert y.dtype == np.float32
            np.testing.assert_allclose(y, expected, rtol=1e-6)
        x = np.array([[1e300], [3e300]])
        np.testing.assert_allclose(Standardize(2e300, 1e300)(x), [[-1], [1]], rtol=1e-6)

    @pytest.mark.parametrize("value", [14.62, 0.1, -1e-3, 1e9 + 0.1, 0.0])
    def test_a_constant_column_counts_as_1(self, value):
        fitted = Standardize.fit(np.full((1000, 1), value))
        assert fitted.std.tolist() == [1]
        np.testing.assert_allclose(fitted(np.array([[value + 0.01]])), [[0.01]], rtol=1e-4)
        last_bit = np.full((1000, 1), value)
        last_bit[::2] = np.nextafter(value, np.inf)
        assert Standardize.fit(last_bit).std.tolist() in ([1], [pytest.approx(last_bit.std())])
        assert value == 0 or Standardize.fit(last_bit).std.tolist() == [1]

    @pytest.mark.parametrize("value", [1e20 / 3, 1.7e18 / 7, 1e300, -1e300, 2**62 + 1])
    def test_a_constant_column_is_0_however_large(self, value):
        x = np.full((1000, 1), value)
        assert (Standardize.fit(x)(x) == 0).all()

    def test_standardize_of_numbers_whose_squares_overflow(self):
        x = np.array([[1e300, 1.0], [-1e300, 3.0]])
        np.testing.assert_allclose(Standardize.fit(x)(x), [[1, -1], [-1, 1]], rtol=1e-6)

    @pytest.mark.parametrize("start", [1_700_000_000_000_000_000, 2**62, np.uint64(2**63)])
    def test_integers_that_float64_cannot_tell_apart_are_refused(self, start):
        x = (start + np.arange(20, dtype=np.asarray(start).dtype))[:, None]
        with pytest.raises(ValueError, match=r"channel 0 holds integers too large .* subtract the least"):
            Standardize.fit(x)
        days = start + np.arange(20, dtype=x.dtype)[:, None] * x.dtype.type(86_400_000_000_000)
        np.testing.assert_allclose(Standardize.fit(days)(days).std(), 1, rtol=1e-4)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_standardize_has_no_mean_of_nan(self, value):
        with pytest.raises(ValueError, match="channel 1 holds NaN or infinity"):
            Standardize.fit([[0.0, 1.0], [1.0, value]])

    @pytest.mark.parametrize("transform", [ToFloat(), ToFloat(2.0), Log1p(), Resize(1, 1), Standardize(1, 2)])
    def test_tensors(self, transform):
        x = np.random.default_rng(0).random((4, 3, 2, 2)).astype(np.float32)
        t = fn.tensor(x, requires_grad=True)
        np.testing.assert_array_equal(transform(t), transform(x))
        np.testing.assert_array_equal(Standardize.fit(t).mean, Standardize.fit(x).mean)

    def test_standardize_in_pieces(self):
        x = np.random.default_rng(0).normal(5, 3, (3000, 3, 7, 5)).astype(np.float32)
        mean, std = np.arange(3.0), np.arange(1.0, 4.0)
        expected = (x - mean.reshape(-1, 1, 1)) / std.reshape(-1, 1, 1)
        np.testing.assert_array_equal(Standardize(mean, std)(x), expected.astype(np.float32))
        assert Standardize(mean, std)(x[:0]).shape == (0, 3, 7, 5)

    @pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint32, np.int16, ">i4"])
    def test_integers_of_lists_are_bytes(self, kind):
        x = np.array([[0, 51, 255]])
        np.testing.assert_array_equal(ToFloat()(x.astype(kind)), ToFloat()(x.astype(np.uint8)))
        assert ToFloat(0.5)(np.array([1000], kind)).tolist() == [500]
        with pytest.raises(ValueError, match=r"must lie in 0\.\.255.*from 0 to 256"):
            ToFloat()(np.array([0, 256], kind))

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

    @pytest.mark.parametrize("kind", ["u1", "i1", "<u2", ">u2", "<i2", ">i2", "i4", ">i4", "u4", "i8", ">u8"])
    def test_every_transform_takes_integers_alike(self, kind):
        pixels = np.full((1, 8, 8), 100).astype(kind)
        expected = np.float32(100) * np.float32(1 / 65535 if kind[1:] == "u2" else 1 / 255)
        assert ToImages((1, 8, 8))(pixels).max() == ToFloat()(pixels).max() == expected

    @pytest.mark.parametrize("kind", [np.int64, np.int32, np.uint64, np.int16, np.uint8])
    def test_integers_are_bytes(self, kind):
        grey = np.full((1, 8, 8), 51).astype(kind)
        assert ToImages((1, 8, 8))(grey).max() == np.float32(51) * np.float32(1 / 255)
        if kind != np.uint8:
            with pytest.raises(ValueError, match=r"must lie in 0\.\.255"):
                ToImages((1, 8, 8))(grey * 100)
        assert ToImages((1, 8, 8))(np.full((1, 8, 8), 65535, np.uint16)).max() == pytest.approx(1)

    def test_a_long_thin_drawing_takes_no_square(self):
        import tracemalloc

        page = np.full((3, 40_000), 255, np.uint8)
        page[1] = 0  # a line, which would be centred on a sheet of 40,000 x 40,000
        tracemalloc.start()
        image = ToImages((1, 8, 8), ink=True)(page)
        assert tracemalloc.get_traced_memory()[1] < 16e6
        tracemalloc.stop()
        assert image.shape == (1, 1, 8, 8)

    def test_the_sheet_need_not_be_made(self):
        from fastnn.data.images import fit_ink, resize

        rng = np.random.default_rng(0)
        for h, w in ((5, 31), (31, 5), (9, 8), (8, 8), (1, 20)):
            ink = rng.uniform(0.5, 1, (1, h, w)).astype(np.float32)
            side = max(h, w)
            top, left = (side - h) // 2, (side - w) // 2
            sheet = np.pad(ink, [(0, 0), (top, side - h - top), (left, side - w - left)])
            np.testing.assert_allclose(fit_ink(ink, 8, 8), resize(sheet, 8, 8), atol=1e-6)
