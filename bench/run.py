"""Run benchmarks and print every figure beside its bar: ``.venv/bin/python bench/run.py [--short] [NAME…]``.

Names: start, routes, jobs, uploads, responsive; all of them by default. Exits 1 where a bar is missed; ``--short`` only
proves that everything runs, in seconds, and judges nothing.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module

from workplace import workplace

NAMES = ("start", "routes", "jobs", "uploads", "responsive")


def main() -> int:
    """Run what was asked for and return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--short", action="store_true", help="prove that it runs, and judge nothing")
    given = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {sys.version.split()[0]}", flush=True)
    missed = 0
    with workplace(short=given.short) as place:
        for name in given.names or NAMES:
            for figure in import_module(f"bench_{name}").measure(place):
                print(figure, flush=True)
                missed += not figure.reached
    return 1 if missed and not given.short else 0


if __name__ == "__main__":
    sys.exit(main())
