"""The runtime: what it does where it cannot keep compiled kernels."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
from taichi_nerf import runtime
from taichi_nerf.data.builtin import builtin_scene
runtime.init("cpu", threads=1)
print(len(builtin_scene(resolution=2, views=(1, 0, 0)).splits["train"]))
"""


def test_a_cache_folder_that_cannot_be_written_does_no_harm(tmp_path):
    """Taichi would crash at the end of the process."""
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "temporary").mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")]),
        "TI_OFFLINE_CACHE_FILE_PATH": str(tmp_path / "file" / "cache"),
        "TMPDIR": str(tmp_path / "temporary"),
    }
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    assert list((tmp_path / "temporary").iterdir()) == []
