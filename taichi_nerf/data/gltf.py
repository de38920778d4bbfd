"""What trimesh leaves out of a glTF file: how much light its materials let pass (KHR_materials_transmission).

    .glb    "glTF", version, length; then of the first chunk length, "JSON" and the JSON; numbers of 4 bytes
    .gltf   the JSON
"""

import json
import math
import struct
from pathlib import Path

__all__ = ["transmissions"]

TRANSMISSION = "KHR_materials_transmission"


def transmissions(path: Path) -> dict[str | None, float]:
    """By the names of the materials of a file, the transmissionFactor in [0, 1] of those that have one: of several with
    one name, the least. What is damaged lets nothing pass."""
    try:
        found: dict[str | None, float] = {}
        for material in _header(path.read_bytes()).get("materials", []):
            factor = float(material.get("extensions", {}).get(TRANSMISSION, {}).get("transmissionFactor", 0.0))
            name = material.get("name")
            found[name] = min(found.get(name, 1.0), factor if math.isfinite(factor) else 0.0)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, struct.error):
        return {}
    return {name: factor for name, factor in found.items() if factor > 0}


def _header(data: bytes) -> dict:
    if data[:4] != b"glTF":
        return json.loads(data)
    (length,) = struct.unpack_from("<I", data, 12)
    return json.loads(data[20 : 20 + length])
