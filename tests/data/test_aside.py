"""Folders that appear when they are complete, and what is left of those that never were."""

import os
import signal
import subprocess
import sys

import pytest

from taichi_nerf.data.aside import MARK, finish, folder_aside, remove_abandoned
from taichi_nerf.data.locks import lock

HOLDER = """
import sys, time
from pathlib import Path
from taichi_nerf.data.aside import folder_aside
with folder_aside(Path(sys.argv[1]), ".scene-") as aside:
    (aside / "photo.jpg").write_bytes(b"x")
    print("ready", flush=True)
    time.sleep(60)
"""
pytest.importorskip("fcntl", reason="this system has no such locks")


@pytest.fixture
def holder(tmp_path):
    """Another process that fills a folder aside."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}) as process:
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def test_a_folder_appears_when_it_is_complete_and_without_the_mark(tmp_path):
    with folder_aside(tmp_path, ".scene-") as aside:
        (aside / "file").write_text("here")
        assert not (tmp_path / "scene").exists()
        finish(aside, tmp_path / "scene")
    assert [path.name for path in tmp_path.iterdir()] == ["scene"]
    assert [path.name for path in (tmp_path / "scene").iterdir()] == ["file"]
    assert (tmp_path / "scene").stat().st_mode & 0o777 == 0o755


def test_what_is_broken_off_is_gone(tmp_path):
    with pytest.raises(KeyboardInterrupt), folder_aside(tmp_path / "new", ".scene-"):
        raise KeyboardInterrupt
    assert list((tmp_path / "new").iterdir()) == []


def test_what_is_not_yet_held_is_not_found_by_those_who_remove(tmp_path, monkeypatch):
    def looked_for(descriptor):
        remove_abandoned(tmp_path)
        monkeypatch.undo()
        return lock(descriptor)

    monkeypatch.setattr("taichi_nerf.data.aside.lock", looked_for)
    with folder_aside(tmp_path, ".scene-") as aside:
        assert (aside / MARK).is_file()


def test_what_a_killed_process_left_is_removed_by_the_next_and_what_is_held_is_not(holder, tmp_path):
    (tmp_path / "garden").mkdir()
    (tmp_path / "garden" / "other").write_text("")
    [left] = tmp_path.glob(".scene-*")
    with folder_aside(tmp_path, ".scene-") as aside:
        remove_abandoned(tmp_path)
        assert (left / "photo.jpg").is_file() and aside.is_dir()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert (left / MARK).is_file()
    with folder_aside(tmp_path, ".scene-"):
        assert not left.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["garden"]
