"""Decoding to uint8 RGBA, and the area filter."""

import io

import numpy as np
import pytest
from PIL import Image

from taichi_nerf.data.images import downscaled, read_image, read_images
from taichi_nerf.errors import UserError


def brute_force_downscale(image: np.ndarray, factor: int) -> np.ndarray:
    """Every old pixel spread over the new ones by the area of their overlap, colours weighted by alpha."""
    old_h, old_w = image.shape[:2]
    new_h, new_w = max(old_h // factor, 1), max(old_w // factor, 1)
    result = np.zeros((new_h, new_w, 4))
    for i in range(new_h):
        for j in range(new_w):
            total, area = np.zeros(4), 0.0
            for y in range(old_h):
                for x in range(old_w):
                    dy = min(y + 1, (i + 1) * old_h / new_h) - max(y, i * old_h / new_h)
                    dx = min(x + 1, (j + 1) * old_w / new_w) - max(x, j * old_w / new_w)
                    if dy > 0 and dx > 0:
                        r, g, b, a = image[y, x].astype(float)
                        total += dx * dy * np.array([r * a, g * a, b * a, a])
                        area += dx * dy
            if total[3] > 0:
                result[i, j] = [*(total[:3] / total[3]), total[3] / area]
    return result


@pytest.mark.parametrize("shape", [(8, 6), (7, 5), (9, 11), (3, 3), (5, 16)])
@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("opaque", [False, True])
def test_downscale_against_brute_force(shape, factor, opaque):
    image = np.random.default_rng(3).integers(0, 256, (*shape, 4), dtype=np.uint8)
    if opaque:
        image[..., 3] = 255
    expected = brute_force_downscale(image, factor)
    actual = downscaled(image, factor)
    assert actual.dtype == np.uint8
    assert np.abs(actual - expected).max() <= 0.501  # rounding to eight bits, nothing else


def test_downscale_premultiplies_so_that_invisible_colour_leaks_nowhere():
    image = np.zeros((2, 2, 4), np.uint8)
    image[..., :3] = (0, 255, 0)  # invisible green
    image[0, 0] = (200, 40, 10, 255)
    assert downscaled(image, 2).tolist() == [[[200, 40, 10, 64]]]


def test_downscale_of_opaque_pixels_is_the_mean():
    image = np.full((2, 2, 4), 255, np.uint8)
    image[..., 0] = [[0, 10], [20, 31]]
    assert downscaled(image, 2)[0, 0].tolist() == [15, 255, 255, 255]


def test_downscale_commutes_with_compositing():
    image = np.random.default_rng(1).integers(0, 256, (12, 12, 4), dtype=np.uint8)

    def over_white(pixels):
        alpha = pixels[..., 3:] / 255
        return pixels[..., :3] * alpha + 255 * (1 - alpha)

    before = over_white(image).reshape(4, 3, 4, 3, 3).mean(axis=(1, 3))
    assert np.abs(over_white(downscaled(image, 3)) - before).max() < 1.5


def test_downscale_preserves_a_constant_image_and_keeps_factor_one():
    image = np.full((7, 9, 4), 137, np.uint8)
    assert (downscaled(image, 2) == 137).all() and downscaled(image, 2).shape == (3, 4, 4)
    assert downscaled(image, 1) is image


def save(tmp_path, image: Image.Image, name: str = "image.png", **options):
    image.save(tmp_path / name, **options)
    return tmp_path / name


def test_rgba_and_rgb_are_kept_exactly(tmp_path):
    rgba = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    assert np.array_equal(read_image(save(tmp_path, Image.fromarray(rgba))), rgba)
    rgb = read_image(save(tmp_path, Image.fromarray(rgba[..., :3])))
    assert np.array_equal(rgb[..., :3], rgba[..., :3]) and (rgb[..., 3] == 255).all()


def test_grey_and_grey_with_alpha_are_expanded(tmp_path):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    pixels = read_image(save(tmp_path, Image.fromarray(grey)))
    assert all(np.array_equal(pixels[..., k], grey) for k in range(3)) and (pixels[..., 3] == 255).all()
    both = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(grey[::-1].copy())])
    pixels = read_image(save(tmp_path, both))
    assert np.array_equal(pixels[..., 1], grey) and np.array_equal(pixels[..., 3], grey[::-1])


def test_one_bit_images_are_black_and_white(tmp_path):
    bits = np.array([[True, False], [False, True]])
    assert read_image(save(tmp_path, Image.fromarray(bits)))[..., 0].tolist() == [[255, 0], [0, 255]]


def test_palette_with_transparency(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    assert read_image(save(tmp_path, image)).tolist() == [[[10, 20, 30, 255], [200, 100, 50, 255]]]
    path = save(tmp_path, image, transparency=bytes([255, 7]))
    assert read_image(path).tolist() == [[[10, 20, 30, 255], [200, 100, 50, 7]]]


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    values = np.array([[0, 128, 129, 257], [32768, 65000, 65407, 65535]], dtype=np.uint16)
    pixels = read_image(save(tmp_path, Image.fromarray(values)))
    assert pixels[..., 0].tolist() == np.round(values / 257).astype(int).tolist()
    assert (pixels[..., 3] == 255).all()


def png_16_bit(values: np.ndarray) -> bytes:
    """A PNG of 16-bit RGB or RGBA, written by hand since Pillow writes none."""
    import struct
    import zlib

    height, width, channels = values.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_is_rounded_to_the_nearest(tmp_path, channels):
    values = np.random.default_rng(5).integers(0, 65536, (6, 5, channels), dtype=np.uint16)
    values[0, 0] = 65535
    (tmp_path / "deep.png").write_bytes(png_16_bit(values))
    pixels = read_image(tmp_path / "deep.png")
    assert np.array_equal(pixels[..., :channels], np.round(values / 257).astype(np.uint8))
    assert channels == 4 or (pixels[..., 3] == 255).all()


def test_exif_orientation_is_not_applied(tmp_path):
    values = np.zeros((16, 32, 3), np.uint8)
    values[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    pixels = read_image(save(tmp_path, Image.fromarray(values), "phone.jpg", exif=exif, quality=95))
    assert pixels.shape == (16, 32, 4) and pixels[0, 0, 0] > 200 and pixels[0, -1, 0] < 50


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "bmp", "tif"])
def test_a_truncated_file_is_named(tmp_path, ending):
    values = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    path = save(tmp_path, Image.fromarray(values), f"cut.{ending}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=rf"cut\.{ending} cannot be read as an image"):
        read_image(path)


def test_what_is_no_image_is_named(tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "folder.png").mkdir()
    for name in ("text.png", "empty.png", "folder.png", "missing.png"):
        with pytest.raises(UserError, match=name):
            read_image(tmp_path / name)


def test_floating_point_images_are_refused(tmp_path):
    path = save(tmp_path, Image.fromarray(np.zeros((4, 4), np.float32)), "float.tif")
    with pytest.raises(UserError, match=r"float\.tif holds floating-point values"):
        read_image(path)


def test_random_damage_ends_in_a_user_error_or_an_image(tmp_path):
    rng = np.random.default_rng(7)
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (20, 20, 4), dtype=np.uint8)).save(stream, "PNG")
    original = np.frombuffer(stream.getvalue(), np.uint8)
    for _ in range(150):
        data = original.copy()
        data[rng.integers(0, len(data), 3)] = rng.integers(0, 256, 3)
        (tmp_path / "damaged.png").write_bytes(data.tobytes())
        try:
            assert read_image(tmp_path / "damaged.png").shape[2] == 4
        except UserError as error:
            assert "damaged.png" in str(error)


def test_images_of_mixed_sizes_lie_one_after_the_other(tmp_path):
    arrays = [np.random.default_rng(n).integers(0, 256, (4 + n, 6, 4), dtype=np.uint8) for n in range(3)]
    paths = [save(tmp_path, Image.fromarray(a), f"{n}.png") for n, a in enumerate(arrays)]
    images = read_images(paths)
    assert images.offset.tolist() == [0, 24, 54] and images.pixels.shape == (90, 4) and images.has_alpha
    assert images.names == ("0", "1", "2")
    for n, array in enumerate(arrays):
        assert np.array_equal(images.image(n), array)
        assert np.shares_memory(images.image(n), images.pixels)


def test_errors_of_several_images_are_told_with_their_index(tmp_path):
    good = save(tmp_path, Image.fromarray(np.full((30, 30, 3), 9, np.uint8)), "good.png")
    noise = np.random.default_rng(0).integers(0, 256, (30, 30, 3), dtype=np.uint8)
    bad = save(tmp_path, Image.fromarray(noise), "bad.png")
    bad.write_bytes(bad.read_bytes()[:1500])
    told = []
    images = read_images([bad, good, bad], on_error=lambda n, error: told.append((n, str(error))))
    assert [n for n, _ in told] == [0, 2] and (images.image(1) == (9, 9, 9, 255)).all()
    with pytest.raises(UserError, match=r"bad\.png"):
        read_images([good, bad])


def test_no_images_are_valid():
    images = read_images([])
    assert len(images) == 0 and images.pixels.shape == (0, 4) and not images.has_alpha
