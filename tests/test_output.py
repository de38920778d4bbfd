"""What is printed: nothing of it ends a program, and no name of a file commands the terminal."""

import errno
import io
import json
import os
import subprocess
import sys

import pytest

from taichi_nerf import output
from taichi_nerf.progress import Progress

HOSTILE = "a\x1b[31mred\x07\nb\r\u202ec\udce9\ud800 [/x] é 漢"
SHOWN = r"a\x1b[31mred\x07\nb\r\u202ec\xe9\ud800 [/x] é 漢"


class Broken(io.StringIO):
    """A stream that takes nothing."""

    def __init__(self, number: int = errno.EPIPE):
        super().__init__()
        self.number = number

    def write(self, text):
        raise OSError(self.number, os.strerror(self.number))


class Terminal(io.TextIOWrapper):
    def __init__(self, encoding: str = "utf-8"):
        super().__init__(io.BytesIO(), encoding=encoding, errors="strict", write_through=True)

    def isatty(self) -> bool:
        return True

    def content(self) -> str:
        return self.buffer.getvalue().decode(self.encoding)


def test_names_are_shown_and_not_obeyed(capsys):
    output.result(HOSTILE, "second")
    output.say(HOSTILE)
    assert capsys.readouterr() == (f"{SHOWN}\nsecond\n", f"{SHOWN}\n")


def test_json_stays_json(capsys):
    output.result_json({"name": f"{HOSTILE}\x7f"})
    said = capsys.readouterr().out
    assert json.loads(said) == {"name": f"{HOSTILE}\x7f"}
    assert said.isascii() and said[:-1].isprintable()


def test_what_an_encoding_does_not_have_is_escaped(monkeypatch):
    for name, print_it in (("stdout", output.result), ("stderr", output.say)):
        stream = Terminal("ascii")
        monkeypatch.setattr(sys, name, stream)
        print_it("é 漢")
        assert stream.content() == "\\xe9 \\u6f22\n"


@pytest.mark.parametrize("stream", [None, Broken(), Broken(errno.ENOSPC), Broken(errno.EIO)])
def test_a_stream_that_takes_nothing_ends_nothing(monkeypatch, stream):
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", stream)
    output.say("beside")
    assert output.loss() is None
    output.result("asked for")
    lost = output.loss()
    assert (lost is None) if stream is None else lost.errno == stream.number
    assert output.loss() is None
    with Progress("trying") as line:
        line.show(1.0, "done")
        line.note("more")


def test_a_closed_stream_ends_nothing(monkeypatch):
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stdout", closed)
    output.result("asked for")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_progress_on_a_terminal_shows_names_as_they_are(monkeypatch, encoding):
    """Brackets are no markup: a closing one would end in an error."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    stream = Terminal(encoding)
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress("loading [/y]") as line:
        line.wait(HOSTILE)
        line.show(0.5, HOSTILE)
        line.note(f"note {HOSTILE}")
    said = stream.content()
    shown = SHOWN.encode(encoding, "backslashreplace").decode(encoding)
    assert "loading [/y]" in said and shown in said and f"note {shown}" in said


def test_what_is_left_follows_from_what_is_done(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("taichi_nerf.progress.time.monotonic", lambda: now[0])
    with Progress("trying", quiet=True) as line:
        now[0] += 30
        assert line.left(0.25) == "1:30 left" and line.left(1.0) == "0:30 in all"


def test_a_view_that_takes_long_says_how_far_it_is_and_what_is_left(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr("taichi_nerf.progress.time.monotonic", lambda: now[0])
    with Progress("evaluating") as line:
        now[0] += 9
        line.part(0.1, 4)  # it may be done before anybody waits
        now[0] += 3
        line.part(0.5, 4)
        line.part(0.6, 4)  # too soon
        now[0] += 12
        line.part(1.0, 4)  # which count says
        line.count(1, 4)
        now[0] += 12
        line.part(1.5, 4)
        now[0] += 84
        line.part(4.0, 4)
        line.count(4, 4)
    assert capsys.readouterr().err.splitlines() == [
        "evaluating: 12 %, view 1 of 4, 1:24 left", "evaluating: 25 %, 1 of 4 views, 1:12 left",
        "evaluating: 38 %, view 2 of 4, 1:00 left",
        "evaluating: 100 %, 4 of 4 views, 2:00 in all"]


def test_what_is_left_counts_anew_after_another_task(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("taichi_nerf.progress.time.monotonic", lambda: now[0])
    with Progress("trying", quiet=True) as line:
        now[0] += 500
        line.restart()
        now[0] += 10
        assert line.left(0.5) == "0:10 left"


def test_the_next_file_does_not_take_the_number_of_a_closed_stream(tmp_path):
    program = ("from taichi_nerf.output import open_closed_streams; open_closed_streams(); import os, sys; "
               f"file = open({str(tmp_path / 'file')!r}, 'w'); assert file.fileno() > 2; print('nowhere'); "
               "print('nowhere', file=sys.stderr); os.write(1, b'nowhere')")
    command = [sys.executable, "-c", program]
    done = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command])
    assert done.returncode == 0
    assert (tmp_path / "file").read_text() == ""
