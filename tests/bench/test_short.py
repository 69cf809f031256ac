"""The benchmarks in their short form: they run, and print what they measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "bench/run.py"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("routes", "typed route, flat body / bare aiohttp handler"),
        ("jobs", "no-op jobs, one worker, batch 100"),
        ("uploads", "500 concurrent durable uploads of 256 KiB"),
    ],
)
def test_a_benchmark_runs(name, said):
    """Its short form ends in peace and says the figure that the pages name."""
    argv = [sys.executable, RUN, "--short", name]
    done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=120)

    assert (0, True) == (done.returncode, said in done.stdout), done.stdout + done.stderr
