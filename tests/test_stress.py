"""The campaign of hostile inputs: it can be repeated, it goes through all kinds, and it finds what is planted."""

import dataclasses
import json
import os
import runpy
import signal
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.append(str(BENCHMARKS))  # as for a script there

from _stress import campaign, process  # noqa: E402
from _stress.kinds import KINDS  # noqa: E402
from _stress.verdicts import BAD, GOOD  # noqa: E402

# A worker whose scenes are loaded by `planted`, which has the number of the input.
PLANTED = """
import json, os, subprocess, sys, time
from pathlib import Path
from _stress import worker
from taichi_nerf.data import load
from taichi_nerf.errors import UserError

true_read = load._read

def planted(config, request, check):
    path = Path(config.path)
    number = int(path.parent.name.partition("-")[2])
    {fault}
    return true_read(config, request, check)

load._read = planted
worker.main_loop()
"""
FAULTS = {
    "traceback": "raise KeyError('frames')",
    "crash": "os.abort()",
    "hang": "time.sleep(60)",
    "outside": "(path.parents[2] / 'elsewhere').write_text('x')",
    "untidy": "raise UserError('one sentence, ' * 300)",
}


@pytest.fixture
def stress(monkeypatch):
    """`stress(*arguments)` is the exit code of the command."""
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments) -> int:
        monkeypatch.setattr("sys.argv", ["stress.py", *map(str, arguments)])
        return runpy.run_path(str(BENCHMARKS / "stress.py"), run_name="stress")["main"]()

    yield run
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Results, with the scenes that are damaged."""
    from _stress.originals import write_scenes

    folder = tmp_path_factory.mktemp("stress")
    write_scenes(folder / "originals" / "scenes")
    return folder


@pytest.fixture
def attempts(folder, tmp_path, monkeypatch):
    """`attempts(numbers, fault)`: what comes of inputs of the kind `scenes` where the loader does `fault` first."""
    def run(numbers, fault: str = "pass", seconds: float = 20.0) -> list:
        plant(monkeypatch, tmp_path, fault)
        monkeypatch.setattr(process, "GRACE", 1.0)
        kind = dataclasses.replace(KINDS["scenes"], seconds=seconds)
        trial = campaign.Campaign(folder, [kind], seed=3, workers=1)
        try:
            return [trial.attempt(trial.first_worker(), kind, number) for number in numbers]
        finally:
            trial.end()

    return run


def plant(monkeypatch, folder: Path, fault: str):
    program = folder / "planted.py"
    program.write_text(PLANTED.format(fault=fault))
    monkeypatch.setattr(process, "WORKER", [str(program)])


def test_the_list_has_every_kind_and_every_verdict(stress, capsys):
    assert stress("--list") == 0
    said = capsys.readouterr().out
    assert all(f"{kind.name} " in said and kind.what in said for kind in KINDS.values())
    assert all(what in said for what in (GOOD | BAD).values())


@pytest.mark.parametrize("arguments, sentence", [
    (["--minutes", "0"], "--minutes must be above 0"),
    (["--only", "colours"], "invalid choice: 'colours'"),
    (["--input", "3"], "--input goes with one kind of --only and a --seed"),
    (["--input", "3", "--only", "scenes", "runs", "--seed", "1"], "--input goes with one kind"),
    (["--small-disk", "absent"], "--small-disk absent is no folder"),
    (["--output", __file__], "is a file; give a folder"),
    (["--workers", "0"], "--workers must be from 1 to 64"),
])
def test_bad_arguments_end_in_one_sentence(stress, capsys, arguments, sentence):
    with pytest.raises(SystemExit) as end:
        stress(*arguments)
    said = capsys.readouterr().err
    assert end.value.code == 2 and sentence in said and len(said.splitlines()) == 1


@pytest.mark.slow
def test_the_seed_makes_the_same_inputs_again(attempts):
    first, again = attempts(range(12)), attempts(range(12))
    assert [each.what for each in first] == [each.what for each in again]
    assert [each.verdict for each in first] == [each.verdict for each in again]
    assert len({each.what for each in first}) == 12


@pytest.mark.slow
def test_planted_faults_are_found_and_the_next_input_is_none_the_worse(attempts):
    """Each fault in one input, and whole inputs between them."""
    lines = [f"if number == {2 * n}: {fault}" for n, fault in enumerate(FAULTS.values())]
    outcomes = attempts(range(2 * len(FAULTS)), "\n    ".join(lines), seconds=4.0)
    assert [each.verdict for each in outcomes[::2]] == list(FAULTS)
    assert all(each.verdict in GOOD for each in outcomes[1::2]), outcomes
    assert "KeyError: 'frames'" in outcomes[0].text and "SIGABRT" in outcomes[2].text
    assert "time.sleep" in outcomes[4].text or "planted" in outcomes[4].text, "where it hung"
    assert "elsewhere" in outcomes[6].text


@pytest.mark.slow
def test_other_pixels_of_a_whole_image_are_found(attempts):
    fault = """scene = true_read(config, request, check)
    for split in scene.splits.values():
        split.images.pixels[:] ^= 255
    return scene"""
    assert "changed" in {each.verdict for each in attempts(range(30), fault)}


@pytest.mark.slow
def test_a_started_program_and_a_pickle_are_found(attempts):
    fault = r"subprocess.run(['true']) if number else __import__('pickle').loads(b'cposix\nsystem\n(Vtrue\ntR.')"
    texts = [each.text for each in attempts([0, 1], fault)]
    assert "pickle.find_class" in texts[0] and "started ['true']" in texts[1]


@pytest.mark.slow
def test_a_campaign_with_a_fault_fails_and_says_how_to_repeat_it(stress, folder, tmp_path, monkeypatch, capsys):
    plant(monkeypatch, tmp_path, FAULTS["traceback"])
    monkeypatch.setattr(campaign.Campaign, "prepare", lambda self: None)
    arguments = ["--seed", 5, "--only", "scenes", "--output", folder, "--workers", 1]
    assert stress(*arguments, "--minutes", 0.02) == 1
    captured = capsys.readouterr()
    results = json.loads((folder / "results.json").read_text())
    fault = results["faults"][0]
    assert fault["verdict"] == "traceback" and "KeyError" in fault["text"] and results["failed"] >= fault["count"] > 0
    assert fault["repeat"] in captured.out and fault["repeat"] in captured.err
    assert "1:" not in captured.err.partition("left")[0].rpartition(",")[2], "less than a minute is left"
    kept = folder / "faults" / f"scenes-{fault['number']}"
    assert "KeyError" in (kept / "outcome.txt").read_text() and (kept / "scene").is_dir()

    assert stress(*arguments, "--input", fault["number"]) == 1
    assert f"scenes {fault['number']}: traceback" in capsys.readouterr().out


def test_kinds_get_their_shares_of_the_time(folder, monkeypatch):
    """Whatever an input of them takes."""
    clock = [0.0]
    monkeypatch.setattr(campaign.time, "monotonic", lambda: clock[0])
    run = campaign.Campaign(folder, list(KINDS.values()), seed=0, workers=1)
    spent = dict.fromkeys(KINDS, 0.0)

    def attempt(worker, kind, number):
        took = 8.0 if kind.name in ("kills", "writers") else 0.1
        clock[0] += took
        spent[kind.name] += took
        if clock[0] > 5000:
            run.end()

    monkeypatch.setattr(run, "attempt", attempt)
    run._work(None)
    shares = sum(kind.share for kind in KINDS.values())
    for kind in KINDS.values():
        assert spent[kind.name] / 5000 == pytest.approx(kind.share / shares, abs=0.05), kind.name


def faults_of(results: dict) -> list[str]:
    return [f"{fault['repeat']}: {fault['what']}: {fault['text'][-800:]}" for fault in results["faults"]]


@pytest.mark.slow
def test_a_few_seconds_of_each_kind_that_one_process_can_do_find_nothing(stress, tmp_path):
    assert stress("--minutes", 0.08, "--seed", 11, "--workers", 1, "--output", tmp_path / "out", "--only",
                  *(name for name in KINDS if name != "writers")) in (0, 1)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert not faults_of(results)
    assert all(kind["inputs"] > 0 and set(kind["verdicts"]) <= set(GOOD) for kind in results["kinds"].values())
    assert sorted(os.listdir(tmp_path / "out")) == ["originals", "results.json"], "nothing else is left"


@pytest.mark.slow
def test_a_short_campaign_of_all_kinds_finds_nothing(stress, tmp_path):
    assert stress("--minutes", 0.8, "--seed", 12, "--output", tmp_path / "out") in (0, 1)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert not faults_of(results)
    assert all(results["kinds"][name]["inputs"] > 0 for name in KINDS)
