"""Damage to the content of a file, as chance has it: its bytes, the values of its JSON, the text of its JSON."""

import copy
import json
import math
import random
import struct

DEEP, DIGITS, OVERFLOW = "@deep@", "@digits@", "@overflow@"  # what json.dumps cannot write
WRITTEN = {DEEP: "[" * 100_000 + "]" * 100_000, DIGITS: "9" * 400, OVERFLOW: "1e999"}
VALUES = [None, True, False, 0, -1, 1, 3, 128, 2**31, 2**63, 1e-30, 1e6, 1e30, 1e300, 10**400, math.nan, math.inf,
          -math.inf, "", "x", "1", "../..", "/dev/zero", "/etc/passwd", "images/0001.png", "\0", "x" * 3000,
          "\x1b[31mred\x1b[0m", "\ud800", "‮gnp.0000", [], {}, [[]], {"a": 1}, [1, 2, 3], [1e400], DEEP, DIGITS,
          OVERFLOW]
KEYS = ["fl_x", "cx", "w", "h", "k1", "camera_model", "camera_angle_x", "aabb_scale", "scale", "offset", "frames",
        "file_path", "transform_matrix", "train_filenames", "time", "mask_path", "depth_file_path", "ply_file_path",
        "applied_transform", "kind", "path", "size", "version", "steps", "threads", "refined"]
EDGES = [b"\xff" * 8, b"\0" * 8, struct.pack("<d", math.inf), struct.pack("<d", math.nan), struct.pack("<Q", 2**33),
         struct.pack("<Q", 2**63), struct.pack("<Q", 2**63 - 1), struct.pack("<I", 2**31), b"99999999", b" nan nan",
         b"1e999 -1"]


def of_bytes(content: bytes, rng: random.Random) -> bytes:
    """One to three of: another byte or bit, a cut, a number overwritten, bytes taken out, put in, or said twice."""
    content = bytearray(content)
    for _ in range(rng.randint(1, 3)):
        at, kind = rng.randrange(len(content) + 1), rng.randrange(9)
        if kind == 0:
            content[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 1 and at < len(content):
            content[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            del content[at:]
        elif kind == 3:
            content[at : at + 8] = rng.choice(EDGES)
        elif kind == 4:
            at -= at % 8
            content[at : at + 8] = rng.choice(EDGES)
        elif kind == 5:
            del content[at : at + rng.randint(1, 40)]
        elif kind == 6:
            content[at:at] = rng.randbytes(rng.randint(1, 40))
        elif kind == 7:
            content[at:at] = content[at : at + rng.randint(1, 200)]
        else:  # in the head, where counts and sizes are
            at = rng.randrange(min(len(content), 64) + 1)
            content[at : at + 1] = bytes([rng.choice([0, 1, 0x7F, 0x80, 0xFF])])
    return bytes(content)


def of_json_values(content: bytes, rng: random.Random) -> bytes:
    """One to three values, anywhere, replaced, removed or added."""
    value = copy.deepcopy(json.loads(content))
    for _ in range(rng.randint(1, 3)):
        node = value
        while True:
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            key = rng.choice([*keys, rng.choice(KEYS)] if isinstance(node, dict) else keys) if keys else None
            if key is None:
                break
            child = node[key] if key in keys else None
            if isinstance(child, (dict, list)) and child and rng.random() < 0.8:
                node = child
                continue
            if rng.random() < 0.2 and key in keys:
                del node[key]
            else:
                node[key] = copy.deepcopy(rng.choice(VALUES))
            break
    text = json.dumps(value)
    for word, written in WRITTEN.items():
        text = text.replace(f'"{word}"', written)
    return text.encode()


def of_json_text(content: bytes, rng: random.Random) -> bytes:
    """What no JSON should be, or hardly ever is: brackets without end, another encoding, a cut, a key said twice."""
    text = content.decode("utf-8")
    at = rng.randrange(len(text) + 1)
    return rng.choice([
        lambda: text.encode("utf-16"),
        lambda: text.encode("utf-8-sig"),
        lambda: text[:at].encode(),
        lambda: (text[:at] + rng.choice(["}", "]", "\x00", '"', "é", ",", "//", "/*", "\\ud800", "1e999"])
                 + text[at + rng.randint(0, 5) :]).encode(),
        lambda: b"[" * 200_000,
        lambda: b'{"a":' * 50_000,
        lambda: b"9" * 5000,
        lambda: b"",
        lambda: rng.choice([b"null", b"[]", b"{}", b'""', b"0", b"NaN"]),
        lambda: text.replace("{", '{"frames": [], "w": -1, "run": null, "names": 3, ', 1).encode(),
        lambda: text[: at - at % 3].encode() + b"\xff\xfe" + text[at:].encode(),
        lambda: (text + " " * 100_000).encode(),
    ])()


def of_json(content: bytes, rng: random.Random) -> bytes:
    """Values, text or bytes of a JSON file; one that is damaged already loses bytes."""
    try:
        return rng.choices([of_json_values, of_json_text, of_bytes], [6, 2, 2])[0](content, rng)
    except (ValueError, TypeError, RecursionError):
        return of_bytes(content, rng)
