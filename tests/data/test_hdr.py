"""Linear light: OpenEXR, Radiance and 16-bit files, their exposure, and how they become sRGB."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from taichi_nerf.data import load_scene
from taichi_nerf.data.hdr import linear_from_srgb, read_hdr, srgb_from_linear
from taichi_nerf.data.images import image_size, read_image
from taichi_nerf.errors import UserError

from .test_images import png_16_bit


def write_radiance(path, linear: np.ndarray):
    """Radiance RGBE without run lengths: colour = mantissa / 256 * 2^(exponent - 128)."""
    height, width, _ = linear.shape
    exponent = np.floor(np.log2(np.maximum(linear.max(axis=-1), 1e-30))) + 1
    mantissa = np.floor(linear * 256 / 2 ** exponent[..., None])
    pixels = np.concatenate([mantissa, exponent[..., None] + 128], axis=-1).astype(np.uint8)
    path.write_bytes(b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y %d +X %d\n" % (height, width) + pixels.tobytes())
    return path


def write_exr(path, values: np.ndarray):
    """OpenEXR of float16 or float32 values [H, W, 1, 3 or 4], without compression."""
    height, width, count = values.shape
    names, kind = {1: "Y", 3: "BGR", 4: "ABGR"}[count], {2: 1, 4: 2}[values.dtype.itemsize]
    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    channels = b"".join(name.encode() + b"\0" + struct.pack("<iB3xii", kind, 0, 1, 1) for name in names) + b"\0"
    attributes = [
        ("channels", "chlist", channels), ("compression", "compression", b"\0"), ("dataWindow", "box2i", window),
        ("displayWindow", "box2i", window), ("lineOrder", "lineOrder", b"\0"),
        ("pixelAspectRatio", "float", struct.pack("<f", 1)), ("screenWindowCenter", "v2f", struct.pack("<2f", 0, 0)),
        ("screenWindowWidth", "float", struct.pack("<f", 1)),
    ]  # fmt: skip
    head = b"\x76\x2f\x31\x01" + struct.pack("<i", 2)
    for name, kind_name, data in attributes:
        head += f"{name}\0{kind_name}\0".encode() + struct.pack("<i", len(data)) + data
    head += b"\0"
    rows = [np.ascontiguousarray(row.T[::-1]).tobytes() for row in values]  # channel after channel, in reverse
    size = 8 + len(rows[0])
    offsets = b"".join(struct.pack("<Q", len(head) + 8 * height + n * size) for n in range(height))
    path.write_bytes(head + offsets + b"".join(struct.pack("<ii", n, len(row)) + row for n, row in enumerate(rows)))
    return path


def linear_picture(height=6, width=9, channels=3) -> np.ndarray:
    return (4 * np.random.default_rng(2).random((height, width, channels)) ** 3).astype(np.float32)


def test_srgb_and_back():
    x = np.linspace(0, 1, 1001)
    assert np.abs(linear_from_srgb(srgb_from_linear(x)) - x).max() < 1e-6
    assert np.allclose(srgb_from_linear([0.0, 0.0031308, 0.18, 1.0]), [0, 0.04045, 0.46136, 1.0], atol=1e-5)
    assert np.allclose(srgb_from_linear(np.array([np.nan, np.inf, -np.inf, -1, 7])), [0, 1, 0, 0, 1], atol=1e-6)


def test_an_image_of_linear_light_becomes_srgb(tmp_path):
    linear = linear_picture()
    path = write_radiance(tmp_path / "light.hdr", linear)
    assert image_size(path) == (9, 6)
    assert np.abs(read_hdr(path)[0] - linear).max() < 4 / 128
    expected = np.round(255 * srgb_from_linear(read_hdr(path)[0]))
    pixels = read_image(path)
    assert np.array_equal(pixels[..., :3], expected) and (pixels[..., 3] == 255).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_openexr_keeps_what_is_brighter_than_white_until_it_is_exposed(tmp_path, dtype):
    linear = linear_picture().astype(dtype)
    path = write_exr(tmp_path / "light.exr", linear)
    assert image_size(path) == (9, 6)
    assert np.array_equal(read_hdr(path)[0], linear.astype(np.float32))
    for stops in (-2.5, 0.0, 1.0):
        expected = np.round(255 * srgb_from_linear(linear.astype(np.float32) * np.float32(2**stops)))
        assert np.abs(read_image(path, exposure=stops)[..., :3] - expected).max() <= 1


def test_grey_openexr_is_grey(tmp_path):
    grey = linear_picture(channels=1)
    colour, alpha = read_hdr(write_exr(tmp_path / "grey.exr", grey))
    assert np.array_equal(colour, np.repeat(grey, 3, axis=2)) and (alpha == 1).all()


def test_openexr_colours_are_divided_by_their_alpha(tmp_path):
    values = np.zeros((1, 3, 4), np.float32)
    values[0, 0] = [0.25, 0.125, 0.0, 0.5]
    values[0, 1] = [1, 1, 1, 1]
    pixels = read_image(write_exr(tmp_path / "alpha.exr", values))
    assert pixels[0, :, 3].tolist() == [128, 255, 0]
    assert np.abs(pixels[0, 0, :3] - 255 * srgb_from_linear([0.5, 0.25, 0.0])).max() <= 0.5


def test_a_stop_doubles_the_light_of_a_16_bit_png(tmp_path):
    values = np.random.default_rng(0).integers(0, 20000, (5, 4, 3), dtype=np.uint16)
    (tmp_path / "deep.png").write_bytes(png_16_bit(values))
    expected = np.round(255 * srgb_from_linear(2 * linear_from_srgb(values / 65535)))
    assert np.abs(read_image(tmp_path / "deep.png", exposure=1.0)[..., :3] - expected).max() <= 1
    grey = Image.fromarray(values[..., 0])
    grey.save(tmp_path / "grey.png")
    assert np.abs(read_image(tmp_path / "grey.png", exposure=1.0)[..., 0] - expected[..., 0]).max() <= 1


def test_a_16_bit_png_that_says_it_is_linear_is_taken_at_its_word(tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (5, 4, 3), dtype=np.uint16)
    plain = png_16_bit(values)
    gamma = b"gAMA" + struct.pack(">I", 100000)
    chunk = struct.pack(">I", 4) + gamma + struct.pack(">I", zlib.crc32(gamma))
    (tmp_path / "linear.png").write_bytes(plain[:33] + chunk + plain[33:])
    expected = np.round(255 * srgb_from_linear(values / 65535))
    assert np.abs(read_image(tmp_path / "linear.png")[..., :3] - expected).max() <= 1


def test_exposure_leaves_8_bit_images_alone(tmp_path):
    rgba = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "plain.png")
    assert np.array_equal(read_image(tmp_path / "plain.png", exposure=3.0), rgba)


def test_a_scene_of_radiance_images_is_loaded_with_its_exposure(capture):
    for frame in capture.frames:
        write_radiance(capture.folder / frame["file_path"].replace(".png", ".hdr"), linear_picture(16, 12))
        frame["file_path"] = frame["file_path"].removesuffix(".png")
        (capture.folder / (frame["file_path"] + ".png")).unlink()
    capture.write()
    dark, bright = (load_scene(capture.folder, exposure=stops).splits["train"].images.pixels for stops in (-3, 0))
    assert dark[:, :3].mean() < 0.6 * bright[:, :3].mean()
    with pytest.raises(UserError, match="--exposure is 99"):
        load_scene(capture.folder, exposure=99)


@pytest.mark.parametrize("ending", ["hdr", "exr"])
def test_damage_ends_in_one_sentence_that_names_the_file(tmp_path, ending):
    whole = (write_radiance if ending == "hdr" else write_exr)(tmp_path / f"whole.{ending}", linear_picture(40, 30))
    data = whole.read_bytes()
    path = tmp_path / f"damaged.{ending}"
    for damaged in (b"", b"text", data[:20], data[: len(data) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=rf"damaged\.{ending} cannot be read as an image"):
            read_image(path)
    path.write_bytes(data.replace(b"+X 30", b"+X 99999999") if ending == "hdr" else
                     data.replace((29).to_bytes(4, "little"), (2**30).to_bytes(4, "little")))
    with pytest.raises(UserError, match=r"its head states \d+ x \d+ pixels"):
        read_image(path)
    with pytest.raises(UserError, match="does not exist"):
        read_image(tmp_path / f"missing.{ending}")


def test_openexr_of_a_kind_that_is_not_read_says_what_to_do(tmp_path):
    path = write_exr(tmp_path / "dwaa.exr", linear_picture())
    words = b"compression\0compression\0\1\0\0\0"
    path.write_bytes(path.read_bytes().replace(words + b"\0", words + b"\x08"))
    with pytest.raises(UserError, match=r"dwaa\.exr cannot be read .*its compression .* save it with ZIP or PIZ"):
        read_image(path)


@pytest.mark.parametrize("ending, count", [("exr", 15), ("hdr", 10)])
def test_random_damage_ends_in_a_user_error_or_an_image(tmp_path, capfd, ending, count):
    write = write_radiance if ending == "hdr" else write_exr
    original = np.frombuffer(write(tmp_path / f"whole.{ending}", linear_picture(20, 24)).read_bytes(), np.uint8)
    rng, path = np.random.default_rng(7), tmp_path / f"damaged.{ending}"
    for _ in range(count):
        data = original.copy()
        data[rng.integers(0, len(data), 3)] = rng.integers(0, 256, 3)
        path.write_bytes(data[: rng.integers(len(data) // 2, 2 * len(data))].tobytes())
        try:
            assert read_image(path).shape[2] == 4
        except UserError as error:
            assert f"damaged.{ending}" in str(error)
    assert capfd.readouterr().out == ""
