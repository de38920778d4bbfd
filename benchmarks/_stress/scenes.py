"""Hostile scenes: damaged, foreign, endless, oddly named; each must be refused in a sentence or be a scene.

Whatever happens to a file, the pixels of the images that are whole are as they were.
"""

import io
import os
import pickle
import random
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from taichi_nerf.data import Scene, load_scene
from taichi_nerf.data.cache import cache_folders
from taichi_nerf.data.inspect import describe

from . import damage
from .box import Box
from .commands import refusal_of
from .originals import FORMAT, SPARING
from .verdicts import Fault

PICTURES = (".png", ".jpg", ".hdr", ".JPG")
NAMES = ["\x1b]0;title\x07.png", "new\nline.png", "-rf.png", "a b.png", "ü\u0308.png", "\u202egnp.png", "%s%n.png",
         "x" * 250 + ".png", "..png", "$(id).png", "CON.png", os.fsdecode(b"not-utf8-\xff\xfe.png"), "'quoted\".png"]
TURNED = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
COUNTS = [2**63, 2**64 - 1, 2**63 - 1, 2**32, 2**31, 2**31 - 1, 10**12, 0, 1]


def attempt(box: Box) -> str:
    """Damage a scene, load it, or let the command line say what is in it, and now and then train on it."""
    rng = box.rng
    name = rng.choice(list(box.originals.scenes))
    original = box.originals.scenes[name]
    scene = box.copy(original, "scene")
    for way in rng.choices(list(WAYS), list(WAYS.values()), k=rng.choice([1, 1, 1, 2])):
        box.say(f"{name}: {way(scene, rng)}")
    stated = FORMAT.get(name, name) if rng.random() < 0.7 else None
    if rng.random() < 0.12:
        return _informed(box, scene, stated)
    options = {"format": stated, "test_every": rng.choice([0, 2, 8]), "strict": rng.random() < 0.6,
               "downscale": rng.choice([1, 1, 1, 2]), "orient": rng.choice([None, None, "up", "pca", "none"]),
               "alpha": rng.choice(["auto", "auto", "mask", "background"]), "masks": rng.random() < 0.8,
               "skip_missing": rng.random() < 0.2, "cache": "disk" if rng.random() < 0.05 else "memory"}
    box.say(f"load_scene {options}")
    with box.watch.watching(cache_folders(scene) if options["cache"] == "disk" else []) as found:
        try:
            loaded = load_scene(scene, **options)
            describe(loaded)
        except Exception as error:
            refusal_of(error)
            loaded = None
    if found:
        raise Fault("outside", "; ".join(found[:5]))
    if loaded is None:
        return "refused"
    check_valid(loaded)
    if options["downscale"] == 1:
        check_pixels(loaded, scene, original)
    if rng.random() < 0.03:
        return _trained(box, scene)
    return "done"


def _informed(box: Box, scene: Path, stated: str | None) -> str:
    """By the command line, which also prints names."""
    picture = box.folder / "out" / "cameras.png"
    argv = ["info", scene, *(["--format", stated] if stated else []),
            *box.rng.choice([[], ["--json"], ["--picture", picture]])]
    return box.command(*argv, may_write=[picture.parent]).verdict


def _trained(box: Box, scene: Path) -> str:
    run = box.folder / "run"
    return box.command("train", scene, "--steps", "2", "-o", run, *SPARING, may_write=[run]).verdict


def check_valid(scene: Scene):
    """Raises Fault unless the scene has cameras that are some, and as many images, at least two of them to train on."""
    def require(holds, text: str):
        if not holds:
            raise Fault("invalid", text)

    require(np.isfinite([*scene.centre, scene.scale, scene.near]).all() and scene.near >= 0, "no place in the model")
    require(scene.splits, "no splits")
    require("train" not in scene.splits or len(scene.splits["train"]) >= 2, "less than two images to train on")
    for name, split in scene.splits.items():
        cameras = scene.model_cameras(split.cameras)
        for field in ("camera_to_world", "focal", "principal", "distortion"):
            require(np.isfinite(getattr(cameras, field)).all(), f"{name}: {field} is not finite")
        require((cameras.focal > 0).all(), f"{name}: a focal length is not positive")
        require(len(split.images) == len(cameras) == len(split.paths) > 0, f"{name}: not as many images as cameras")
        for values in (split.bounds, split.time, *(s.pixel for s in split.sightings or ())):
            require(values is None or np.isfinite(values).all(), f"{name}: bounds, times or sightings are not finite")
    require(scene.points is None or np.isfinite(scene.to_model(scene.points.position)).all(), "a point is not finite")


def check_pixels(scene: Scene, folder: Path, original: Path):
    """Raises Fault where an image whose file is as it was has other colours than the file."""
    for split in scene.splits.values():
        for n, path in enumerate(split.paths):
            whole = original / Path(path).relative_to(folder) if folder in Path(path).parents else None
            if whole is None or whole.suffix == ".hdr" or not whole.is_file() or not _same(whole, Path(path)):
                continue
            with Image.open(whole) as image:
                if image.mode in ("I;16", "I") or split.scale is not None:
                    continue
                colours = np.asarray(image.convert("RGB"))
            found = split.images.image(n)[..., :3]
            if found.shape != colours.shape or not np.array_equal(found, colours):
                raise Fault("changed", f"{path} is whole, and its pixels are others")


def _same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


def _files(scene: Path, *endings: str) -> list[Path]:
    """Regular files, by their endings or all, in an order that is always the same."""
    return [path for path in sorted(scene.rglob("*"))
            if path.is_file() and not path.is_symlink() and (not endings or path.suffix in endings)]


def _chosen(scene: Path, rng: random.Random, *endings: str) -> Path:
    files = _files(scene, *endings) or _files(scene)
    told = [path for path in files if path.suffix not in PICTURES]
    return rng.choice(told if told and rng.random() < 0.6 else files)


def _changed(path: Path, scene: Path, how: str) -> str:
    return f"{path.relative_to(scene)} {how}"


def json_changed(scene: Path, rng: random.Random) -> str:
    path = _chosen(scene, rng, ".json")
    path.write_bytes(damage.of_json(path.read_bytes(), rng))
    return _changed(path, scene, "has other JSON")


def bytes_changed(scene: Path, rng: random.Random) -> str:
    path = _chosen(scene, rng)
    path.write_bytes(damage.of_bytes(path.read_bytes(), rng))
    return _changed(path, scene, "has other bytes")


def counts_changed(scene: Path, rng: random.Random) -> str:
    """A count, or what lies where one might, is huge."""
    path = _chosen(scene, rng, ".bin", ".txt", ".tsv", ".ply", ".npy")
    content, count = bytearray(path.read_bytes()), rng.choice(COUNTS)
    if path.suffix == ".bin":
        at = 0 if rng.random() < 0.5 else rng.randrange(max(1, len(content) - 8))
        content[at : at + 8] = struct.pack("<Q", count % 2**64)
    else:
        words = content.split(b" ")
        words[rng.randrange(len(words))] = str(count).encode()
        content = b" ".join(words)
    path.write_bytes(bytes(content))
    return _changed(path, scene, f"counts {count}")


class _Bait:
    """What a pickle would execute."""

    def __reduce__(self):
        return os.system, ("touch executed-by-a-pickle",)


def array_replaced(scene: Path, rng: random.Random) -> str:
    """An array of another shape, type or size than one should be; with pickles, or a claim of terabytes."""
    path = _chosen(scene, rng, ".npy")
    stream = io.BytesIO()
    values = rng.choice([
        lambda: np.array([_Bait()], object), lambda: np.zeros((4, 17), complex), lambda: np.array(["x" * 100]),
        lambda: np.zeros(0), lambda: np.full((5, 17), np.nan), lambda: np.full((5, 17), 1e308),
        lambda: np.zeros((1, 1, 1, 17)), lambda: np.zeros((5, 17), [("a", "f8")]), lambda: np.float64(3),
        lambda: np.zeros((8, 8), np.float16), lambda: np.zeros((5, 17), "datetime64[s]"), lambda: None,
        lambda: pickle.dumps(_Bait()), lambda: b"\x93NUMPY\x01\x00" + b"\xff\xff" + b"{" * 65535])()
    if values is None:
        shape = rng.choice(["(1000000000000, 17)", "(-1, 17)", "(5,)", "(18446744073709551616, 1)", "(5, 17"])
        head = f"{{'descr': '<f8', 'fortran_order': {rng.choice(['True', 'False', '3'])}, 'shape': {shape}, }}"
        stream.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head) + 1) + head.encode() + b"\n" + bytes(680))
    elif isinstance(values, bytes):
        stream.write(values)
    elif rng.random() < 0.2:
        np.savez(stream, values)
    else:
        np.save(stream, values, allow_pickle=True)
    path.write_bytes(stream.getvalue())
    return _changed(path, scene, "is another array")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png(width: int, height: int, depth: int = 8, colour: int = 2, data: bytes = b"", *more: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [_chunk(b"IHDR", head), *more, _chunk(b"IDAT", zlib.compress(data)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _encoded(image: Image.Image, form: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _pictures(rng: random.Random, side: tuple[int, int]) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """What may stand in a file of an image."""
    plain = Image.fromarray(np.random.default_rng(rng.randrange(2**31)).integers(0, 256, (*side[::-1], 3), np.uint8))
    rows = (b"\0" + bytes(3 * side[0])) * side[1]
    yield "0 bytes", lambda: b""
    yield "EPS", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n(touch x) run showpage\n"
    for form in ("GIF", "PPM", "ICO", "TGA", "PCX", "SGI", "BMP", "TIFF", "WEBP", "JPEG", "PDF", "MPO"):
        yield f"{form}", lambda form=form: _encoded(plain, form)
    for mode in ("1", "L", "P", "LA", "RGBA", "I;16", "I", "CMYK", "YCbCr"):
        form = "JPEG" if mode in ("CMYK", "YCbCr") else "TIFF" if mode == "I" else "PNG"
        yield f"of mode {mode}", lambda mode=mode, form=form: _encoded(
            plain.convert("L").convert(mode) if mode[0] == "I" else plain.convert(mode), form)
    yield "of floats", lambda: _encoded(plain.convert("F"), "TIFF")
    yield "animated", lambda: _encoded(plain, "PNG", save_all=True, append_images=[plain.rotate(90)])
    yield "turned by EXIF", lambda: _encoded(plain, "JPEG", exif=TURNED)
    yield "of 2^31 - 1 pixels a side", lambda: _png(2**31 - 1, 2**31 - 1)
    yield "of 30000 x 30000 pixels", lambda: _png(30000, 30000, data=bytes(1000))
    yield "a bomb", lambda: _png(*side, data=bytes(2**26))
    yield "of 0 pixels", lambda: _png(0, 0)
    yield "of 13 bits", lambda: _png(*side, depth=13, data=rows)
    yield "with a text that is a bomb", lambda: _png(
        *side, 8, 2, rows, _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**25))))
    yield "with a gamma of 0", lambda: _png(*side, 16, 0, (b"\0" + bytes(2 * side[0])) * side[1],
                                            _chunk(b"gAMA", bytes(4)))
    yield "with a palette of one entry", lambda: _png(*side, 8, 3, (b"\0" + b"\xff" * side[0]) * side[1],
                                                      _chunk(b"PLTE", b"\0\0\0"))
    yield "of another size", lambda: _encoded(plain.resize((side[0] * 2 + 1, side[1])), "PNG")
    yield "turned by 90 degrees", lambda: _encoded(plain.rotate(90, expand=True), "PNG")


def picture_replaced(scene: Path, rng: random.Random) -> str:
    path = rng.choice(_files(scene, *PICTURES) or _files(scene))
    try:
        with Image.open(path) as image:
            side = image.size
    except (OSError, ValueError, SyntaxError):  # it was damaged before
        side = (8, 8)
    how, make = rng.choice(list(_pictures(rng, side)))
    path.write_bytes(make())
    return _changed(path, scene, f"is {how}")


def other_thing(scene: Path, rng: random.Random) -> str:
    """No file at all, or one that has no end."""
    path = _chosen(scene, rng)
    path.unlink()
    how = rng.choice(["a pipe", "a folder", "a circle of links", "a link to nothing", "a link to /dev/zero",
                      "a link to /proc/self/mem", "a socket", "a link to its folder", "gone"])
    if how == "a pipe":
        os.mkfifo(path)
    elif how == "a folder":
        path.mkdir()
    elif how == "a socket":
        with socket.socket(socket.AF_UNIX) as made:
            here = os.open(path.parent, os.O_RDONLY)  # the path of a socket may not be long
            made.bind(f"/proc/self/fd/{here}/{path.name}")
            os.close(here)
    elif how.startswith(("a link", "a circle")):
        targets = {"a circle of links": path.name, "a link to nothing": "nowhere", "a link to its folder": "."}
        path.symlink_to(targets.get(how, how.removeprefix("a link to ")))
    return _changed(path, scene, f"is {how}")


def renamed(scene: Path, rng: random.Random) -> str:
    """An image with a name that no one would give, which the files of the scene follow, or do not."""
    path = rng.choice(_files(scene, *PICTURES) or _files(scene))
    new = path.with_name(rng.choice(NAMES))
    path.rename(new)
    if rng.random() < 0.7:
        for told in _files(scene, ".json", ".bin", ".txt", ".tsv"):
            name = os.fsencode(new.name)
            if told.suffix == ".json":
                name = name.decode("utf-8", "backslashreplace").encode("unicode_escape").replace(b'"', b'\\"')
                name = name.replace(b"\\x", b"\\u00")
            told.write_bytes(told.read_bytes().replace(os.fsencode(path.name), name))
    return f"{path.relative_to(scene)} is called {new.name!r}"


def swapped(scene: Path, rng: random.Random) -> str:
    """Two files have each other's content."""
    one, other = _chosen(scene, rng), _chosen(scene, rng)
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    return f"{one.relative_to(scene)} and {other.relative_to(scene)} are exchanged"


def added(scene: Path, rng: random.Random) -> str:
    """A file that makes the folder look like something else, too."""
    name = rng.choice(["transforms.json", "transforms_train.json", "transforms_test.json", "metadata.json",
                       "poses_bounds.npy", "cameras.bin", "sparse/0/cameras.txt", "sparse/0/images.bin", "dataset.json",
                       "intrinsics.txt", "bbox.txt", "dense/x", "a.tsv", ".taichi-nerf-cache", "images_2/0000.png",
                       "dynamic_mask_0000.png", "images/dynamic_mask_0000.png", "config.json", "images"])
    path = scene / name
    if path.exists():
        return bytes_changed(scene, rng)
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True)
    path.write_bytes(rng.choice([b"", b"{}", b"[]", b"\0" * 100, b"1 2 3\n", b"\xff" * 64]))
    return _changed(path, scene, "is added")


def folder_moved(scene: Path, rng: random.Random) -> str:
    """A folder is gone, called otherwise, or not to be read as one."""
    folders = [path for path in sorted(scene.rglob("*")) if path.is_dir()]
    if not folders:
        return bytes_changed(scene, rng)
    path = rng.choice(folders)
    path.rename(path.with_name(f"{path.name}_4"))
    if (how := rng.choice(["gone", "a file", "a circle of links"])) == "a file":
        path.write_bytes(b"")
    elif how == "a circle of links":
        path.symlink_to(path.name)
    return _changed(path, scene, f"is {how}")


WAYS = {json_changed: 26, bytes_changed: 18, counts_changed: 8, array_replaced: 7, picture_replaced: 14,
        other_thing: 10, renamed: 6, swapped: 4, added: 5, folder_moved: 2}
