"""Pictures of every kind become the pixels that they show."""

import re
import tracemalloc

import numpy as np
import pytest
from fastnn.cli.predict import read
from fastnn.data import pictures

Image = pytest.importorskip("PIL.Image")

GREY = np.linspace(0, 255, 72 * 48).reshape(72, 48).astype(np.uint8)
HALF = GREY[:, :36]


def saved(image, path, **settings):
    image.save(path, **settings)
    return read(str(path))


def palette(colours, pixels):
    image = Image.frombytes("P", pixels.shape[::-1], pixels.tobytes())
    image.putpalette(colours)
    return image


class TestModes:
    @pytest.mark.parametrize(
        ("suffix", "big"), [("png", False), ("tif", False), ("tif", True), ("pgm", False)]
    )
    def test_16_bits_are_scaled(self, tmp_path, suffix, big):
        values = GREY.astype(np.uint16) * 257
        image = Image.fromarray(values)
        if big:
            image = Image.frombytes("I;16B", (48, 72), values.astype(">u2").tobytes())
        pixels = saved(image, tmp_path / f"a.{suffix}")
        assert pixels.shape == (1, 72, 48, 3)
        assert pixels.dtype == np.uint8
        np.testing.assert_array_equal(pixels[0, ..., 0], GREY)

    def test_16_bits_are_rounded_and_may_be_transparent(self, tmp_path):
        values = np.array([[0, 128, 129, 65534, 65535]], np.uint16)
        pixels = saved(Image.fromarray(values), tmp_path / "a.png", transparency=129)
        assert pixels[0, 0, :, 0].tolist() == [0, 0, 1, 255, 255]
        assert pixels[0, 0, :, 3].tolist() == [255, 255, 0, 255, 255]

    def test_floats_are_scaled(self, tmp_path):
        values = (GREY / 255).astype(np.float32)
        np.testing.assert_array_equal(saved(Image.fromarray(values), tmp_path / "f.tif")[0, ..., 1], GREY)
        for bad in (2.0, -0.5, np.nan):
            values[3, 3] = bad
            with pytest.raises(ValueError, match=r"f\.tif: .*must lie in 0\.\.1"):
                saved(Image.fromarray(values), tmp_path / "f.tif")

    def test_integers_of_unknown_range_are_refused(self, tmp_path):
        with pytest.raises(ValueError, match=r"i\.tif: .*32 bits"):
            saved(Image.fromarray(GREY.astype(np.int32)), tmp_path / "i.tif")

    def test_palettes(self, tmp_path):
        image = palette([0, 0, 0, 10, 20, 30] + [0] * 762, (GREY > 99).astype(np.uint8))
        pixels = saved(image, tmp_path / "p.png")
        assert pixels.shape[-1] == 3
        assert pixels[0, -1, -1].tolist() == [10, 20, 30]
        pixels = saved(image, tmp_path / "p.png", transparency=0)
        assert pixels.shape[-1] == 4
        assert (pixels[0, 0, 0, 3], pixels[0, -1, -1].tolist()) == (0, [10, 20, 30, 255])
        assert saved(image, tmp_path / "p.gif", transparency=0)[0, 0, 0, 3] == 0

    @pytest.mark.parametrize("mode", ["1", "L", "RGB", "LA", "RGBA", "CMYK", "YCbCr"])
    def test_others(self, tmp_path, mode):
        image = Image.fromarray(np.where(GREY > 99, np.uint8(255), np.uint8(0))).convert(mode)
        suffix = "tif" if mode in ("CMYK", "YCbCr") else "png"
        pixels = saved(image, tmp_path / f"x.{suffix}")
        assert pixels.shape == (1, 72, 48, 4 if "A" in mode else 3)
        np.testing.assert_allclose(pixels[0, ..., 1], np.where(GREY > 99, 255, 0), atol=2)

    @pytest.mark.parametrize("mode", ["L", "RGB"])
    def test_a_transparent_colour(self, tmp_path, mode):
        image = Image.fromarray(GREY).convert(mode)
        pixels = saved(image, tmp_path / "t.png", transparency=0 if mode == "L" else (0, 0, 0))
        np.testing.assert_array_equal(pixels[0, ..., 3], np.where(GREY == 0, 0, 255))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_pictures_held_sideways_are_put_upright(tmp_path, orientation, suffix, monkeypatch):
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"e.{suffix}"
    pixels = saved(Image.fromarray(HALF), path, exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(pixels[0, ..., 0], expected)
    monkeypatch.setattr(pictures, "MOST_PIXELS", 700)  # and with what is reduced
    assert read(str(path)).shape[1:3] == ((36, 18) if orientation < 5 else (18, 36))


class TestHugePictures:
    @pytest.mark.parametrize("strip", [1, 1000, 1 << 20])
    def test_are_reduced_while_they_are_read(self, tmp_path, monkeypatch, strip):
        rng = np.random.default_rng(0)
        image = Image.fromarray(rng.integers(0, 256, (101, 67, 3), np.uint8))
        monkeypatch.setattr(pictures, "MOST_PIXELS", 800)
        monkeypatch.setattr(pictures, "_STRIP", strip)
        pixels = saved(image, tmp_path / "a.png")
        assert pixels.shape == (1, 34, 23, 3)
        np.testing.assert_array_equal(pixels[0], np.asarray(image.reduce(3)))

    def test_take_bounded_memory(self, tmp_path):
        path = tmp_path / "a.png"
        palette([0, 0, 0, 255, 255, 255], np.ones((6000, 5000), np.uint8)).save(path, compress_level=1)
        tracemalloc.start()
        pixels = read(str(path))
        assert tracemalloc.get_traced_memory()[1] < 45e6, (
            "30 million pixels, of which 3 bytes each would take 90"
        )
        tracemalloc.stop()
        assert pixels.shape == (1, 2000, 1667, 3)

    def test_more_pixels_than_pillow_decodes(self, tmp_path, monkeypatch):
        """A baseline JPEG is decoded at a fraction of its size; what is decoded as a whole is refused, with the limit."""
        path = tmp_path / "a.jpg"
        Image.new("RGB", (2400, 1600), (200, 100, 50)).save(path)
        monkeypatch.setattr(pictures, "MOST_PIXELS", 10_000)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100_000)
        pixels = read(str(path))
        assert pixels[0, ..., 0].size <= 10_000
        assert abs(pixels.reshape(-1, 3).mean(0) - [200, 100, 50]).max() < 3
        message = ": too large: .* at most 200,000 pixels .*as a baseline JPEG"
        for name, options in (("a.jpg", {"progressive": True}), ("a.png", {})):
            Image.new("RGB", (2400, 1600)).save(tmp_path / name, **options)
            with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path / name))}{message}"):
                read(str(tmp_path / name))

    def test_long_ones(self):
        for size in ((1, 50_000_000), (50_000_000, 1), (13_000, 13_000), (2048, 2048), (1, 1)):
            factor = pictures._factor(*size)
            width, height = (-(-side // factor) for side in size)
            assert width * height <= pictures.MOST_PIXELS
            assert max(width, height) <= pictures.LONGEST_SIDE
        assert pictures._factor(2048, 2048) == 1


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tif"])
def test_a_damaged_picture_is_named(tmp_path, suffix):
    path = tmp_path / f"cut.{suffix}"
    saved(Image.fromarray(np.random.default_rng(0).integers(0, 255, (72, 48), np.uint8)), path)
    whole = path.read_bytes()
    for length in (len(whole) // 2, 40, 10, 0):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: "):
            read(str(path))


def test_a_missing_picture_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read(str(tmp_path / "none.png"))
