"""Settings of work: those that would hurt are refused."""

from __future__ import annotations

import pytest

from heartwood.work.settings import WorkSettings


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"batch": 11}, r"batch = 11 is more than half of concurrency = 20; raise concurrency"),
        ({"concurrency": 3, "batch": 2}, r"batch = 2 is more than half of concurrency = 3"),
        ({"concurrency": 1, "batch": 1}, r"'concurrency' must be >= 2"),
        ({"batch": 0}, r"'batch' must be >= 1"),
        ({"heartbeat": 3.0}, r"lost = 5 is less than twice heartbeat = 3; one late sign would cost a job"),
        ({"heartbeat": 0.0}, r"'heartbeat' must be > 0"),
        ({"drain": -1.0}, r"'drain' must be >= 0"),
        ({"log_keep_days": 0}, r"'log_keep_days' must be >= 1"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, sentence):
    """PgQueuer needs room for two batches, and a lease that outlives one late sign of life."""
    with pytest.raises(ValueError, match=sentence):
        WorkSettings(**settings)


def test_the_defaults_resume_a_job_within_ten_seconds():
    """A lease, and one look at the queue after it."""
    settings = WorkSettings()
    assert (2.0, 5.0) == (settings.heartbeat, settings.lost)
    assert settings.lost + settings.heartbeat < 10
