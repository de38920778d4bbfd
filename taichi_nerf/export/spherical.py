"""What tells a player that a picture is all around: boxes in MP4 files, a packet in JPEG files, endings of names.

Videos carry Google's Spherical Video V2 (`st3d` and `sv3d` in the sample entry of the track) and, for what V1 knows,
the XML of V1 beside it, which older players read. Stills of one eye carry Photo Sphere XMP (GPano). For pairs there is
no packet that players agree on; they go by the end of the name: `_360_TB`, `_180_LR`, `_LR`.
"""

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from ..pictures import to_uint8, written_aside
from ..wide import Grid, Lens, Stereo

__all__ = ["mark_of_name", "mark_video", "read_panorama", "read_video_mark", "write_panorama"]

_V1 = bytes.fromhex("ffcc8263f8554a938814587a02521fdd")
_STEREO: tuple[Stereo, ...] = ("mono", "top-bottom", "left-right")  # as st3d numbers them
_TO_STSD = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
_HEADERS = {b"stsd": 16, b"avc1": 86, b"sv3d": 8}  # bytes before the boxes within a box, where not 8
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_GPANO = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">\
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" \
xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" GPano:ProjectionType="equirectangular" \
GPano:UsePanoramaViewer="True" GPano:StitchingSoftware="taichi-nerf" \
GPano:CroppedAreaImageWidthPixels="{width}" GPano:CroppedAreaImageHeightPixels="{height}" \
GPano:FullPanoWidthPixels="{width}" GPano:FullPanoHeightPixels="{height}" \
GPano:CroppedAreaLeftPixels="0" GPano:CroppedAreaTopPixels="0"/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>"""
_XML_OF_V1 = """<?xml version="1.0"?><rdf:SphericalVideo xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" \
xmlns:GSpherical="http://ns.google.com/videos/1.0/spherical/"><GSpherical:Spherical>true</GSpherical:Spherical>\
<GSpherical:Stitched>true</GSpherical:Stitched><GSpherical:StitchingSoftware>taichi-nerf\
</GSpherical:StitchingSoftware><GSpherical:ProjectionType>equirectangular</GSpherical:ProjectionType>\
<GSpherical:StereoMode>{stereo}</GSpherical:StereoMode></rdf:SphericalVideo>"""


def mark_of_name(grid: Grid) -> str:
    """The end of a still's name by which players know what it is; empty for an ordinary picture."""
    angle = {"equirectangular": "_360", "omnidirectional-stereo": "_360", "vr180": "_180"}.get(grid.lens, "")
    return angle + {"mono": "", "top-bottom": "_TB", "left-right": "_LR"}[grid.stereo]


def write_panorama(path: Path, image: np.ndarray) -> Path:
    """Write an equirectangular picture ([H, W, 3], uint8 or in [0, 1]) as JPEG with the packet that says so.

    Raises:
        UserError: the file cannot be written.
    """
    with written_aside(path) as aside:
        Image.fromarray(to_uint8(image)).save(aside, format="JPEG", quality=95, subsampling=0)
        plain = aside.read_bytes()
        packet = _XMP + _GPANO.format(width=image.shape[1], height=image.shape[0]).encode()
        segment = b"\xff\xe1" + struct.pack(">H", len(packet) + 2) + packet
        aside.write_bytes(plain[:2] + segment + plain[2:])
    return path


def read_panorama(path: Path) -> dict[str, str]:
    """What the packet of a JPEG says, by name; empty where it has none."""
    with Image.open(path) as image:
        packet = image.info.get("xmp", b"").decode("utf-8", "replace")
    return dict(re.findall(r'GPano:(\w+)="([^"]*)"', packet))


def mark_video(path: Path, lens: Lens, stereo: Stereo) -> None:
    """Say in an MP4 file, which VideoWriter wrote, what its pictures show; nothing of an ordinary one."""
    spherical = _sv3d(lens)
    if stereo == "mono" and not spherical:
        return
    entry = _full_box(b"st3d", struct.pack(">B", _STEREO.index(stereo))) + spherical
    data = _inserted(path.read_bytes(), (*_TO_STSD, b"avc1"), entry)
    if lens in ("equirectangular", "omnidirectional-stereo"):
        data = _inserted(data, (b"moov", b"trak"), _box(b"uuid", _V1 + _XML_OF_V1.format(stereo=stereo).encode()))
    path.write_bytes(data)


def read_video_mark(path: Path) -> dict[str, object]:
    """What the boxes of an MP4 file say: `stereo`, `projection` (equirectangular or cube-map) with `bounds` (the parts
    that are left out at the top, bottom, left and right), and `v1`, the fields of the older XML."""
    data, found = path.read_bytes(), {}
    entry = _find(data, (*_TO_STSD, b"avc1"))
    children = {} if entry is None else {kind: (start, end) for kind, start, end in _boxes(data, *_inner(data, *entry))}
    if b"st3d" in children:
        found["stereo"] = _STEREO[data[children[b"st3d"][0] + 12]]
    if b"sv3d" in children:
        inner = dict((kind, (start, end)) for kind, start, end in _boxes(data, *_inner(data, *children[b"sv3d"])))
        projection = {kind: start for kind, start, _ in _boxes(data, *_inner(data, *inner[b"proj"]))}
        if b"equi" in projection:
            bounds = struct.unpack_from(">4I", data, projection[b"equi"] + 12)
            found |= {"projection": "equirectangular", "bounds": tuple(bound / 2**32 for bound in bounds)}
        elif b"cbmp" in projection:
            found["projection"] = "cube-map"
    track = _find(data, (b"moov", b"trak"))
    for kind, start, end in _boxes(data, *_inner(data, *track)) if track else ():
        if kind == b"uuid" and data[start + 8 : start + 24] == _V1:
            found["v1"] = dict(re.findall(r"<GSpherical:(\w+)>([^<]*)<", data[start + 24 : end].decode()))
    return found


def _sv3d(lens: Lens) -> bytes:
    """The box of the projection; none for what is no panorama."""
    cut = 2**30 if lens == "vr180" else 0  # a quarter of the turn on either side
    if lens in ("equirectangular", "omnidirectional-stereo", "vr180"):
        shape = _full_box(b"equi", struct.pack(">4I", 0, 0, cut, cut))
    elif lens == "cube-map":
        shape = _full_box(b"cbmp", struct.pack(">2I", 0, 0))
    else:
        return b""
    source = _full_box(b"svhd", b"taichi-nerf\0")
    return _box(b"sv3d", source + _box(b"proj", _full_box(b"prhd", struct.pack(">3i", 0, 0, 0)) + shape))


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + kind + content


def _full_box(kind: bytes, content: bytes) -> bytes:
    return _box(kind, bytes(4) + content)


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of the boxes that lie between `start` and `end`."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        size = struct.unpack_from(">Q", data, start + 8)[0] if size == 1 else size or end - start
        yield kind, start, start + size
        start += max(size, 8)


def _inner(data: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the boxes within a box lie."""
    return start + _HEADERS.get(data[start + 4 : start + 8], 8), end


def _find(data: bytes, names: tuple[bytes, ...]) -> tuple[int, int] | None:
    """Start and end of the first box along a path of `names`."""
    start, end = 0, len(data)
    for depth, name in enumerate(names):
        inside = (start, end) if depth == 0 else _inner(data, start, end)
        box = next(((a, b) for kind, a, b in _boxes(data, *inside) if kind == name), None)
        if box is None:
            return None
        start, end = box
    return start, end


def _inserted(data: bytes, names: tuple[bytes, ...], content: bytes) -> bytes:
    """The file with `content` at the end of the box along a path of `names`; what lies behind moves on."""
    place, changed = _find(data, names)[1], bytearray(data)
    for depth in range(len(names)):
        start, _ = _find(data, names[: depth + 1])
        struct.pack_into(">I", changed, start, struct.unpack_from(">I", data, start)[0] + len(content))
    for kind, width in ((b"stco", 4), (b"co64", 8)):
        table = _find(data, (*_TO_STSD[:-1], kind))
        for n in range(struct.unpack_from(">I", data, table[0] + 12)[0] if table else 0):
            where, form = table[0] + 16 + width * n, ">I" if width == 4 else ">Q"
            offset = struct.unpack_from(form, data, where)[0]
            struct.pack_into(form, changed, where, offset + len(content) * (offset >= place))
    return bytes(changed[:place]) + content + bytes(changed[place:])
