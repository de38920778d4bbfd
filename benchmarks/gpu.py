"""Everything that is owed of a GPU, in one command: tests, speed and quality, in order of worth.

    python benchmarks/gpu.py --list                                      the plan
    python benchmarks/gpu.py --minutes 10 --output DIR --data DATA       DATA holds nerf_synthetic/lego, mip360_bonsai
    python benchmarks/gpu.py --minutes 4 --output DIR --backends cpu     a rehearsal, in small

A borrowed machine may go away at any moment. So each job is a process of its own in a box of time, at whose end it is
killed with all that it started, and what it found is written before the next begins: DIR/NAME.json and NAME.log, and
DIR/summary.md for docs/benchmarks.md. A box is the job's share of the time left, within what the job needs; a job for
which too little is left is left out. The same command goes on with what is not done. The exit code is 0 if all that ran
passed.
"""

import argparse
import json
import signal
import sys
from pathlib import Path

from _gpu.boxes import write
from _gpu.jobs import BACKENDS, JOBS, Row, rows_of
from _gpu.session import Session, Trouble
from _gpu.summary import listing, results_of, summary


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(2, f"gpu.py: {message}; see --help\n")


def parsed() -> argparse.Namespace:
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0, metavar="M", help="for all jobs together; by default 10")
    parser.add_argument("--output", type=Path, metavar="DIR", help="folder of the results")
    parser.add_argument("--data", type=Path, metavar="DATA", help="folder of the scenes; else those that are built in")
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=["cuda", "vulkan"],
                        help="what the jobs run on; by default cuda and vulkan")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="jobs, on all --backends or on one (step-cuda)")
    parser.add_argument("--again", action="store_true", help="repeat what is done")
    parser.add_argument("--list", action="store_true", help="print the plan and do nothing")
    options = parser.parse_args()
    chosen = set(options.only or (job.name for job in JOBS))
    rows = [row for row in rows_of(options.backends) if {row.name, row.job.name} & chosen]
    if unknown := sorted(chosen - {job.name for job in JOBS} - {row.name for row in rows_of(BACKENDS)}):
        parser.error(f"there is no job {', '.join(unknown)}; there are {', '.join(job.name for job in JOBS)}")
    if not rows:
        parser.error(f"no job of --only is for {', '.join(options.backends)}: choose other --backends")
    if not 0 < options.minutes < 1e5:
        parser.error(f"--minutes must be above 0 and below 100000, got {options.minutes:g}")
    if options.output is None and not options.list:
        parser.error("--output DIR is needed: the folder for the results")
    if options.output and options.output.exists() and not options.output.is_dir():
        parser.error(f"--output {options.output} is a file; give a folder")
    if options.data and not options.data.is_dir():
        parser.error(f"--data {options.data} is no folder; give that of the scenes, or leave it out")
    options.rows = rows
    return options


def go_through(session: Session, rows: list[Row]) -> list[dict]:
    """Do the rows one after the other; the results of those that ran."""
    ran = []
    for number, row in enumerate(rows, 1):
        say(f"[{number}/{len(rows)}] {row.name}: {session.what(row)}; {clock(session.left)} left")
        if session.is_done(row):
            kept = session.kept(row.name)
            say(f"    done already, on {kept['device']}, {kept['date']}; --again repeats it")
            continue
        rest = [other for other in rows[number:] if not (session.is_done(other) or session.why_never(other))]
        reason, box = session.why_never(row) or session.why_not_now(row), session.box(row, rest)
        if reason is None and box is None:
            reason = f"it needs {session.limits(row)[0]:.0f} s, and {session.left:.0f} s are left"
        if reason is not None:
            say(f"    left out: {session.leave_out(row, reason)['found']}")
        else:
            say(f"    {clock(box)} at most")
            ran.append(session.take(row, box))
            say(f"    {ran[-1]['status']} after {clock(ran[-1]['seconds'])}: {ran[-1]['found']}")
        write(session.folder / "summary.md", summary(results_of(session.folder)))
    return ran


def plan(session: Session, rows: list[Row]) -> str:
    """What is to be done, as JSON."""
    entries = []
    for number, row in enumerate(rows, 1):
        least, most = session.limits(row)
        state = "done already" if session.is_done(row) else session.why_never(row) or "planned"
        entries.append({"number": number, "name": row.name, "what": session.what(row), "worth": row.job.worth,
                        "least": least, "most": most, "state": state, "command": session.command(row, least)})
    return json.dumps({"seconds": session.left, "devices": session.machine.devices, "commit": session.commit,
                       "versions": session.machine.versions, "jobs": entries}, indent=1) + "\n"


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def say(text: str):
    print(text, file=sys.stderr, flush=True)


def stop(number, frame):
    raise KeyboardInterrupt


def main() -> int:
    options = parsed()
    if options.list:
        print(listing(options.rows))
        return 0
    folder = options.output.resolve()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # SIGINT, too: a shell's background job ignores it
        signal.signal(number, stop)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        data = options.data and options.data.resolve()
        stale = {row.name for row in options.rows} if options.again else set()
        session = Session(folder, data, 60 * options.minutes, stale)
        write(folder / "plan.json", plan(session, options.rows))
        write(folder / "summary.md", summary(results_of(folder)))  # of the calls before
        ran = go_through(session, options.rows)
    except KeyboardInterrupt:
        say(f"gpu.py: stopped; {folder}/summary.md has what was done, and the same command goes on")
        return 130
    except Trouble as trouble:
        say(f"gpu.py: {trouble}")
        return 1
    except OSError as error:
        say(f"gpu.py: {error.filename or folder} cannot be written or read: {(error.strerror or str(error)).lower()}")
        return 2
    bad = [result["name"] for result in ran if result["status"] != "done"]
    good = any(session.is_done(row) for row in options.rows)
    say(f"gpu.py: {len(ran) - len(bad)} of {len(ran)} jobs passed{', not ' + ', '.join(bad) if bad else ''}; "
        f"{folder}/summary.md has them all")
    return 0 if good and not bad else 1


if __name__ == "__main__":
    sys.exit(main())
