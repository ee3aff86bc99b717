"""The command line; see the package's docstring. Exits 1 when a run failed."""

import argparse
import fcntl
import os
import signal
import sys
import time
import traceback
from fnmatch import fnmatch
from pathlib import Path

from benchmarks.reproduce import cifar, hinton, methods, page, records
from benchmarks.reproduce.conduct import COMMAND, Conductor, Stopped
from benchmarks.reproduce.runs import Book

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PARTS = ("a", "b", "c")


def main() -> int:
    options = _options()
    book = Book.of(hinton.runs(), methods.runs(), cifar.runs(options.scale))
    names = [
        name
        for name in book.runs
        if (options.only is None or name[0] in options.only)
        and (not options.run or any(fnmatch(name, pattern) for pattern in options.run))
    ]
    options.out.mkdir(parents=True, exist_ok=True)
    sitting = Sitting(options.budget)
    conductor = Conductor(
        book, options.out.absolute(), sitting.over, say, options.device, options.threads
    )
    if options.list:
        show(conductor, names, records.load(options.results))
        return 0
    failed = False
    if not options.render:
        with (options.out / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                sys.exit(f"another sitting is at work in {options.out}")
            if options.missing:
                known = records.current(records.load(options.results), book)
                names = [name for name in names if name not in known]
            failed = sit(conductor, names, options.results)
    page.write(records.load(options.results), options.pages)
    return int(failed)


class Sitting:
    """Ends when its budget is spent, or on SIGINT or SIGTERM."""

    def __init__(self, minutes: float | None) -> None:
        self.deadline = time.monotonic() + 60 * minutes if minutes else float("inf")
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        self.asked = True

    def over(self) -> bool:
        return self.asked or time.monotonic() > self.deadline


def sit(conductor: Conductor, names: list[str], results: Path) -> bool:
    """Runs what is wanted, as far as the sitting goes. Whether a run failed."""
    failed: set[str] = set()
    for run in conductor.book.order(names):
        if conductor.ends():
            say("the sitting is over; the same command goes on from here")
            break
        if failed & set(run.teachers):
            failed.add(run.name)
            continue
        fresh = not conductor.finished(run.name)
        try:
            record = conductor.run(run)
        except Stopped:
            say(f"{run.name}: stopped; the same command goes on from its checkpoint")
            break
        except Exception as error:
            traceback.print_exc()
            say(f"{run.name}: failed: {type(error).__name__}: {error}")
            failed.add(run.name)
            continue
        records.add(results, run.name, record)
        if fresh:
            say(
                f"{run.name}: {record['errors']:,} errors of {record['examples']:,}, "
                f"{record['seconds']:.0f} s"
            )
    return bool(failed)


def show(conductor: Conductor, names: list[str], known: records.Records) -> None:
    """A line a run, in the order in which they are conducted."""
    valid = records.current(known, conductor.book)
    for run in conductor.book.order(names):
        done = conductor.finished(run.name)
        here = "finished" if done else "begun" if conductor.begun(run.name) else "-"
        there = "recorded" if run.name in valid else "outdated" if run.name in known else "-"
        errors = valid[run.name]["errors"] if run.name in valid else ""
        say(f"{run.name:<32} {here:<9} {there:<9} {errors}")


def say(line: str) -> None:
    print(line, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    home = os.environ.get("STILLHOUSE_REPRODUCE", ROOT / ".reproduce")
    parser.add_argument("--only", nargs="+", choices=PARTS, help="these parts alone")
    parser.add_argument("--run", nargs="+", metavar="NAME", help="these runs, or patterns (a/kd-*)")
    parser.add_argument("--missing", action="store_true", help="only what has no result yet")
    parser.add_argument("--budget", type=float, metavar="MINUTES", help="stop after so long")
    parser.add_argument("--list", action="store_true", help="show the runs, train nothing")
    parser.add_argument("--render", action="store_true", help="write the page, train nothing")
    parser.add_argument("--out", type=Path, default=Path(home), help="keeps what was trained")
    parser.add_argument("--results", type=Path, default=DOCS / "results.json")
    parser.add_argument("--pages", type=Path, default=DOCS, help="where results.md is written")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:<n>")
    parser.add_argument("--threads", type=int, help="CPU threads; all cores unless told")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="part c on this share of examples and epochs"
    )
    options = parser.parse_args()
    if not 0 < options.scale <= 1:
        parser.error("--scale is a share: above 0, at most 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
