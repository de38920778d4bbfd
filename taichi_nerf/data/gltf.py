"""What trimesh leaves out of a glTF file: how much light its materials let pass (KHR_materials_transmission).

    .glb    "glTF", version, length; then of the first chunk length, "JSON" and the JSON; numbers of 4 bytes
    .gltf   the JSON
"""

import json
import struct
from pathlib import Path

from .json_files import short

__all__ = ["senseless_transmissions", "transmissions"]

TRANSMISSION = "KHR_materials_transmission"


def transmissions(path: Path) -> dict[str | None, float]:
    """By the names of the materials of a file, the transmissionFactor in [0, 1] of those that have one: of several with
    one name, the least. What is no such number, or damaged, lets nothing pass."""
    found: dict[str | None, float] = {}
    for name, factor in _stated(path):
        found[name] = min(found.get(name, 1.0), factor if _is_share(factor) else 0.0)
    return {name: factor for name, factor in found.items() if factor > 0}


def senseless_transmissions(path: Path) -> list[str]:
    """What a file states as a transmissionFactor and is no number in [0, 1], in sentences."""
    return [f"the transmissionFactor of its material {'without a name' if name is None else short(name)} is "
            f"{short(factor)}, not a number from 0 to 1: it counts as 0, which lets no light pass"
            for name, factor in _stated(path) if not _is_share(factor)]


def _stated(path: Path) -> list[tuple[str | None, object]]:
    """The name of each material and its transmissionFactor, whatever that is; none of a file that is damaged, nor of a
    material whose name is neither text nor left out."""
    try:
        materials = _header(path.read_bytes()).get("materials", [])
        stated = [(each.get("name"), each.get("extensions", {}).get(TRANSMISSION, {})) for each in materials]
        return [(name, extension.get("transmissionFactor", 0.0)) for name, extension in stated
                if isinstance(name, str | None)]
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, struct.error):
        return []


def _is_share(factor: object) -> bool:
    return isinstance(factor, (int, float)) and not isinstance(factor, bool) and 0 <= factor <= 1


def _header(data: bytes) -> dict:
    if data[:4] != b"glTF":
        return json.loads(data)
    (length,) = struct.unpack_from("<I", data, 12)
    return json.loads(data[20 : 20 + length])
