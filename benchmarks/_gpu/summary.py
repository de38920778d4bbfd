"""The results of a folder in Markdown, for docs/benchmarks.md, and the plan as text."""

import json
from pathlib import Path

from .jobs import BACKENDS, JOBS, SMALL_LEAST, SMALL_MOST, TARGET, WAYS, Row, rows_of


def results_of(folder: Path) -> list[dict]:
    """Of all rows that are known in `folder`, in order of worth."""
    files = [folder / f"{row.name}.json" for row in rows_of(BACKENDS)]
    return [json.loads(file.read_text(encoding="utf-8")) for file in files if file.is_file()]


def summary(results: list[dict]) -> str:
    """A table of all results, the time to TARGET, and the tables of those that have one."""
    ran = [result for result in results if result["status"] != "left out"]
    lines = ["# Jobs of benchmarks/gpu.py", "", *dict.fromkeys(_measured_on(result) for result in ran), "",
             "| job | what | status | seconds | found |", "|---|---|---|---:|---|"]
    for result in results:
        found, seconds = result["found"].replace("|", "\\|"), result.get("seconds")
        lines.append(f"| `{result['name']}` | {result['what']} | {result['status']} | "
                     f"{'' if seconds is None else round(seconds)} | {found} |")
    lines += time_to_target(results)
    for result in ran:
        if result["table"]:
            lines += ["", f"`{result['name']}`:", "", *result["table"]]
    return "\n".join(lines) + "\n"


def _measured_on(result: dict) -> str:
    versions = ", ".join(word if name == "engine" else f"{name} {word}" for name, word in result["versions"].items()
                         if word)
    size = ", in small: a rehearsal, no figures" if result["small"] else ""
    return f"- {result['date'][:10]}, {result['device']}{size}; {versions}; commit {result['commit'] or 'unknown'}"


def time_to_target(results: list[dict]) -> list[str]:
    """The shortest training of each way that came to TARGET; each is a run of its own, whose learning rate falls to its
    end."""
    by_name = {result["name"]: result for result in results if not result["small"]}
    lines = []
    for way, (what, _) in WAYS.items():
        scored = [(job.trained, by_name[name]["figures"]["psnr"]) for job in JOBS if job.way == way
                  if by_name.get(name := f"{job.name}-cuda", {}).get("figures", {}).get("psnr") is not None]
        if scored:
            reached = min((seconds for seconds, psnr in scored if psnr >= TARGET), default=None)
            runs = ", ".join(f"{seconds:g} s {psnr:.2f} dB" for seconds, psnr in sorted(scored))
            said = "not reached" if reached is None else f"reached after {reached:g} s of training"
            lines += ["", f"{TARGET:g} dB on lego, {what}: {said} ({runs})."]
    return lines


def listing(rows: list[Row]) -> str:
    """The plan: number, name, box, what and why."""
    lines = ["boxes are those on a card; in a rehearsal (a CPU, or Vulkan by software) they have "
             f"{SMALL_LEAST:g} to {SMALL_MOST:g} s"]
    for number, row in enumerate(rows, 1):
        least, most = row.limits(small=False)
        lines.append(f"{number:3}  {row.name:23} {least:4.0f} to {most:3.0f} s  {row.job.what}: {row.job.worth}")
    return "\n".join(lines)
