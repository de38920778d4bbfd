"""What the jobs of `benchmarks/gpu.py` found, read from what they left: figures by name, a sentence, a table.

Each reader takes the job's folder and its log, and makes do with what is there: a job may have been ended at any
moment.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

OUTCOME = re.compile(r"^(tests/\S+?::.+?) (PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", re.MULTILINE)
STARTED = re.compile(r"^(tests/\S+?::\S+)", re.MULTILINE)
COLLECTED = re.compile(r"collected (\d+) items?(?:.*?(\d+) selected)?")
FIRST_STEP = re.compile(r"first step begins after ([\d.]+) s")
NODES = re.compile(r"an octree of (\d+) nodes")
WARM_UP = 10  # lines of a log, a second each, before rates count


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a job found; all of it empty where it came to nothing."""

    figures: dict = field(default_factory=dict)
    sentence: str = ""
    table: list[str] = field(default_factory=list)
    """Lines of Markdown."""


def tests(work: Path, log: str) -> Found:
    """Counts, names of what failed, and the test that was being run when the log ends."""
    outcomes: dict[str, str] = {}
    for name, outcome in OUTCOME.findall(log):
        if outcomes.get(name) != "FAILED":  # an error of the same test, afterwards, hides nothing
            outcomes[name] = outcome
    count = {word: list(outcomes.values()).count(word) for word in ("PASSED", "SKIPPED")}
    bad = [name for name, outcome in outcomes.items() if outcome in ("FAILED", "ERROR")]
    started = STARTED.findall(log)
    running = started[-1] if started and not any(name.startswith(started[-1]) for name in outcomes) else None
    collected = COLLECTED.search(log)
    missed = int(collected[2] or collected[1]) - len(outcomes) if collected else None
    parts = [f"{count['PASSED']} passed", f"{len(bad)} failed", f"{count['SKIPPED']} skipped"]
    parts += ["none reached"] if missed is None else [f"{missed} not reached"] if missed else []
    parts += [f"ended in {running}"] if running else []
    figures = {"passed": count["PASSED"], "failed": len(bad), "skipped": count["SKIPPED"], "not_reached": missed,
               "failures": bad, "running": running}
    return Found(figures=figures, sentence=", ".join(parts), table=[f"- failed: `{name}`" for name in bad])


def training(work: Path, log: str) -> Found:
    """Scores, and how fast training went; of a run that was not scored, how well it met its training images."""
    lines = _log_lines(work / "log.jsonl")
    if not lines:
        return Found()
    last, settled = lines[-1], lines[WARM_UP:] or lines
    rates = [line["rays_per_second"] * line["samples_per_ray"] for line in settled]
    first = FIRST_STEP.search(log)
    figures = {"steps": last["step"], "training_seconds": last["seconds"], "training_psnr": last["psnr"],
               "steps_per_second": last["step"] / last["seconds"], "samples_per_second": sum(rates) / len(rates),
               "first_step_seconds": float(first[1]) if first else None}
    said = "not scored"
    if (work / "metrics.json").is_file():
        scores = json.loads((work / "metrics.json").read_text())
        figures |= {name: scores[name] for name in ("psnr", "ssim", "images")}
        ssim = "" if scores["ssim"] is None else f", SSIM {scores['ssim']:.3f}"  # of a tiny picture there is none
        said = f"{scores['psnr']:.2f} dB{ssim}, test views: {scores['images']}"
    said += (f"; {last['step']:,} steps in {last['seconds']:.1f} s, {figures['samples_per_second'] / 1e6:.3g} M "
             f"samples/s, first step after {first[1] if first else '?'} s")
    return Found(figures=figures, sentence=said)


def _log_lines(file: Path) -> list[dict]:
    """Whole lines of a log."""
    text = file.read_text() if file.is_file() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def step(work: Path, log: str) -> Found:
    """A step on the wall, and its kernels beside their floors."""
    figures = _json_file(work / "figures")
    if not figures:
        return Found()
    sentence = (f"{1e3 * figures['step_seconds']:.2f} ms a step, host {1e3 * figures['host_seconds']:.2f} ms, kernels "
                f"{1e3 * figures['kernel_seconds']:.2f} ms, {figures['samples_per_second'] / 1e6:.3g} M samples/s")
    return Found(figures=figures, sentence=sentence, table=[line for line in log.splitlines() if line.startswith("|")])


def render(work: Path, log: str) -> Found:
    """A frame by each renderer."""
    figures = _json_file(work / "figures")
    if not figures:
        return Found()
    frames = ", ".join(f"{name} {1e3 * seconds:.0f} ms" for name, seconds in figures["frame_seconds"].items())
    width, height = figures["size"]
    apart = "equal" if figures["psnr"] is None else f"{figures['psnr']:.1f} dB apart"
    return Found(figures=figures, sentence=f"{frames} for {width} x {height}; {apart}")


def octree(work: Path, log: str) -> Found:
    """The size and the scores of what was extracted and trained further."""
    nodes = NODES.search(log)
    if nodes is None:
        return Found()
    scores = _json_file(work / "metrics.json")
    scored = f"{scores['psnr']:.2f} dB, test views: {scores['images']}" if scores else "not scored"
    return Found(figures={"nodes": int(nodes[1]), "psnr": scores.get("psnr")}, sentence=f"{nodes[1]} nodes, {scored}")


def octree_frame(work: Path, log: str) -> Found:
    """A frame of an octree."""
    figures = _json_file(work / "figures")
    if not figures:
        return Found()
    width, height = figures["size"]
    sentence = (f"{1e3 * figures['frame_seconds']:.2f} ms for {width} x {height}; {figures['full_leaves']} full "
                f"leaves, {figures['full_leaves_a_ray']:.1f} on a ray")
    return Found(figures=figures, sentence=sentence)


def bench(work: Path, log: str) -> Found:
    """Throughput and share of a copy of every kernel that passed its check."""
    backends = _json_in(log).get("backends", {})
    table, sentences = ["| kernel | forward | forward + backward | share of copy |", "|---|---|---|---|"], []
    for result in backends.values():
        for name, speed in result["speeds"].items():
            ways = [speed[way] for way in ("forward", "both") if way in speed]
            rates = [f"{way['items_per_second'] / 1e6:.3g} M {speed['item']}/s" for way in ways]
            shares = ", ".join(f"{100 * way['share_of_copy']:.1f} %" for way in ways)
            table.append(f"| {name} | {' | '.join((rates + [''])[:2])} | {shares} |")
        if "limits" in result:
            sentences.append(f"copy {result['limits']['copy_bytes_per_second'] / 1e9:.0f} GB/s, launch "
                             f"{1e6 * result['launch']['launch_seconds']:.0f} us")
        sentences.append(_checked(result))
    return Found(figures=backends, sentence="; ".join(sentences), table=table if sentences else [])


def doctor(work: Path, log: str) -> Found:
    """Which kernels passed."""
    backends = _json_in(log).get("backends", {})
    return Found(figures=backends, sentence="; ".join(_checked(result) for result in backends.values()))


def _checked(result: dict) -> str:
    checks = result["checks"]
    wrong = [name for name, check in checks.items() if not check["passed"]]
    trouble = result.get("error") or result.get("missing")
    passed = f"{len(checks) - len(wrong)} of {len(checks)} kernels passed"
    return passed + (f", not {', '.join(wrong)}" if wrong else "") + (f"; {trouble}" if trouble else "")


def _json_file(file: Path) -> dict:
    return json.loads(file.read_text()) if file.is_file() else {}


def _json_in(log: str) -> dict:
    """The last line that is an object."""
    lines = [line for line in log.splitlines() if line.startswith('{"')]
    return json.loads(lines[-1]) if lines else {}
