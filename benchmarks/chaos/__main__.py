"""The run from end to end; see the package's docstring. Exits 1 when anything went wrong."""

import argparse
import os
import platform
import random
import shlex
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import torch

import benchmarks.chaos
from benchmarks.chaos import audit
from benchmarks.chaos.client import Client
from benchmarks.chaos.faults import Faults
from benchmarks.chaos.injector import Injector
from benchmarks.chaos.kinds import Kind, kinds, undisturbed
from benchmarks.chaos.service import LEASE_S, SLOTS, SWEEP_S, Service, service
from benchmarks.chaos.table import Rows, fault_rows, quantiles, recoveries, table
from benchmarks.chaos.uploads import Uploads
from benchmarks.chaos.watch import Watch
from benchmarks.chaos.work import Work

TELL_S = 30.0
NAMES = {"embedded": "embedded (SQLite, Valkey)", "postgres": "PostgreSQL, Valkey on TCP"}
SETUPS = tuple(NAMES)


def main() -> int:
    options = _options()
    command = "python -m benchmarks.chaos " + shlex.join(sys.argv[1:])
    print(f"{command} (seed {options.seed})", flush=True)
    setups = SETUPS if options.on == "both" else (options.on,)
    columns: dict[str, Rows] = {}
    wrong = 0
    for setup in setups:
        print(f"{setup}:", flush=True)
        columns[NAMES[setup]], verdict = _suffer(setup, options, 1 / len(setups))
        wrong += sum(verdict.wrong.values())
        for note in verdict.notes[:40]:
            print(f"  {note}")
        text = f"`{command}`, {_here()}.\n\n{table(columns)}"
        if options.table:  # after each, since the next one takes long
            options.table.write_text(text)
    print("\n" + text)
    return int(wrong > 0)


def _suffer(setup: str, options: argparse.Namespace, share: float) -> tuple[Rows, audit.Audit]:
    with service(postgres=setup == "postgres") as it:
        client = Client(it.url)
        began = time.monotonic()
        found = undisturbed(client, it.database, kinds(client))
        print(f"  {len(found)} undisturbed jobs took {time.monotonic() - began:.0f} s", flush=True)
        seconds = options.hours * 3600 * share - (time.monotonic() - began) if options.hours else 0
        return torment(it, client, found, options, seconds)


def torment(
    it: Service, client: Client, found: list[Kind], options: argparse.Namespace, limit_s: float
) -> tuple[Rows, audit.Audit]:
    """Faults until there are enough jobs and faults, or for `limit_s` unless that is 0; then the
    audit. The table's rows."""
    began = time.monotonic()
    work = Work(client, found, options.seed)
    watch = Watch(it.database)
    uploads = Uploads(it, work, options.seed)
    faults = Faults(it, random.Random(f"{options.seed}/victims"), uploads)
    injector = Injector(faults, watch, options.seed, (options.pause / 2, options.pause * 1.5))
    work.start()
    injector.start()
    told = began
    while not _enough(work, injector, began, options, limit_s):
        time.sleep(0.5)
        if time.monotonic() - told > TELL_S:
            told = time.monotonic()
            print(
                f"  {told - began:.0f} s: {work.ended} jobs ended, {len(injector.blows)} faults,"
                f" {it.disk.used_mib:.0f} MiB on disk",
                flush=True,
            )
    work.enough.set()
    injector.stop()  # the last jobs end in peace
    work.join()
    watch.close()
    seconds = time.monotonic() - began

    verdict = audit.Audit()
    audit.of_jobs(verdict, it, client, work)
    audit.of_keys(verdict, it, work)
    found_again = recoveries(it.database, injector.blows)
    for slow in found_again.slow:
        print(f"  slow: {slow}")
    code = it.stop()
    audit.of_processes(verdict, it, code)
    audit.of_logs(verdict, it)
    audit.of_bytes(verdict, it, faults.damaged, uploads.files)
    for trouble in [*work.troubles, *uploads.troubles]:
        verdict.note("troubles of clients", trouble)

    trained = sum(job.kind.steps for job in work.jobs.values() if job.expected == "succeeded")
    rows: Rows = [
        ("seconds", f"{seconds:.0f}"),
        ("**jobs**", len(work.jobs)),
        *((f"- {act}", count) for act, count in sorted(work.acts.items())),
        *fault_rows(injector.blows),
        *((f"**{what}**", count) for what, count in verdict.wrong.items()),
        ("requests that clients had to repeat", client.repeated),
        ("jobs accepted, unanswered, and found again by their key", uploads.replayed),
        ("attempts that resumed, and that began anew", f"{watch.resumed}, {watch.again}"),
        *verdict.seen.items(),
        ("steps of all students and baselines", trained),
        ("steps seen to be trained twice", watch.wasted),
        (
            f"fault to queued again (lease {LEASE_S:g} s, sweep {SWEEP_S:g} s), p50 / p99 / max",
            quantiles(found_again.queued),
        ),
        ("fault to held again, p50 / p99 / max", quantiles(found_again.claimed)),
        ("attempts that a fault ended", len(found_again.queued)),
        ("- later than a lease and a sweep", len(found_again.slow)),
    ]
    return rows, verdict


def _enough(
    work: Work, injector: Injector, began: float, options: argparse.Namespace, limit_s: float
) -> bool:
    if limit_s:
        return time.monotonic() - began > limit_s
    return len(work.jobs) >= options.jobs and len(injector.blows) >= options.faults


def _here() -> str:
    day = datetime.now(UTC).date().isoformat()
    cores = len(os.sched_getaffinity(0))
    return (
        f"{day}, {cores} cores shared with other work, {2 * SLOTS} trainings at once,"
        f" torch {torch.__version__}, Python {platform.python_version()}"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chaos",
        description=benchmarks.chaos.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--jobs", type=int, default=40, help="at least, on each")
    parser.add_argument("--faults", type=int, default=16, help="at least, on each")
    parser.add_argument("--hours", type=float, help="altogether, instead of jobs and faults")
    parser.add_argument(
        "--pause", type=float, default=3.0, help="seconds between faults, on average"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--on", choices=("both", *SETUPS), default="both")
    parser.add_argument("--table", type=Path, help="also write the table to this file")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
