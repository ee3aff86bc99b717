"""Measures what is asked for and prints a table; see the package's docstring."""

import argparse
import shlex
import sys
from datetime import UTC, datetime

import benchmarks.service
from benchmarks.service import curves, pages, pollers, requests, starts, streams, transfers

SECTIONS = ("transfers", "starts", "curves", "requests", "pollers", "streams", "pages")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=benchmarks.service.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sections", nargs="*", choices=[*SECTIONS, []], metavar="SECTION")
    parser.add_argument("--postgres", help="URL of a server in which a database can be made")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gib", type=float, default=2, help="size of a transfer")
    parser.add_argument("--starts", type=int, default=20)
    parser.add_argument("--api-processes", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10, help="of one measurement of rates")
    parser.add_argument("--follow-s", type=float, default=60, help="how long streams are followed")
    options = parser.parse_args()
    measures = {
        "transfers": lambda: transfers.measure(options.gib, options.rounds),
        "starts": lambda: starts.measure(options.starts),
        "curves": lambda: curves.measure(options.postgres, options.rounds),
        "requests": lambda: requests.measure(
            options.postgres, options.rounds, options.api_processes, options.seconds
        ),
        "pollers": lambda: pollers.measure(options.postgres, options.rounds),
        "pages": lambda: pages.measure(options.postgres),
        "streams": lambda: streams.measure(options.postgres, options.follow_s),
    }
    for name in options.sections or SECTIONS:
        rows = measures[name]()
        print(f"\n{datetime.now(UTC):%Y-%m-%d %H:%M}, {name}\n\n| what | measured |\n|---|---|")
        print("\n".join(rows), flush=True)
    print(f"\n`python -m benchmarks.service {shlex.join(sys.argv[1:])}`")


if __name__ == "__main__":
    main()
