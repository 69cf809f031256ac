"""The two forms of these tests, and the seed that repeats a run."""

from __future__ import annotations

import os
import random

import pytest
from attrs import frozen

LONG = os.environ.get("HEARTWOOD_FAULTS") == "long"
SEED = int(os.environ.get("HEARTWOOD_FAULTS_SEED", "0")) or random.randrange(1, 10**6)


@frozen
class Form:
    """Whether this is the ``long`` form, and chance that the seed repeats."""

    long: bool
    chance: random.Random

    def only_long(self) -> None:
        """Skip what the short form has no time for."""
        if not self.long:
            pytest.skip("only in the long form: HEARTWOOD_FAULTS=long")
