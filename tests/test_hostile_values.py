"""Whatever a tensor says, no operation reads or writes outside of its arrays, and none hangs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def test_every_room_of_operations_is_given_hostile_values():
    source = (ROOT / "tests" / "hostile.py").read_text(encoding="utf-8")
    rooms = [path.stem for path in (ROOT / "taichi_nerf" / "ops").glob("*.py") if not path.stem.startswith("_")]
    assert not [room for room in rooms if f"{room}." not in source]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="memory is protected by mprotect")
def test_operations_end_in_time_and_stay_within_their_arrays():
    """In a process of its own, all in one, which a read or a write outside of a tensor ends, or a call that hangs."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "kernels"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-X", "faulthandler", "-m", "tests.hostile"], cwd=ROOT, text=True,
                          env={**os.environ, "PYTHONPATH": path}, capture_output=True, timeout=180)
    last = done.stdout.splitlines()[-1:]
    assert done.returncode == 0, f"ended with {done.returncode} at {last}: {done.stderr[-2000:]}"
