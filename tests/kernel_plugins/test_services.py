"""Who provides what, and whether it is there."""

from __future__ import annotations

import pytest

from heartwood.contracts.errors import HeartwoodError, ServiceUnavailable
from heartwood.contracts.services import Provides, many
from heartwood.plugins.records import Phase, Record, State
from heartwood.plugins.services import ServiceCatalog


class Clock:
    pass


class Bell:
    pass


@many
class Reader:
    pass


@pytest.fixture(name="catalog")
def _catalog():
    """A catalog in which the kernel provides a ``Clock`` made of the asker's name."""
    catalog = ServiceCatalog()
    catalog.provide(Clock, lambda consumer: f"clock of {consumer}")
    return catalog


def _running(name, catalog, *provides, value=None):
    record = Record(name)
    for each in provides:
        catalog.promise(record, each)
    catalog.offer(record, value)
    record.state = State.RUNNING
    return record


def test_the_kernels_services_know_who_asks(catalog):
    """The kernel gives each plugin its own."""
    assert "clock of ocr" == catalog.one(Clock, consumer="ocr")


def test_one_provider_serves_while_it_runs(catalog):
    """Where it does not run, owner and state are in the error, which becomes a 503."""
    record = _running("bells", catalog, Provides(Bell), value="ding")

    assert "ding" == catalog.one(Bell, consumer="x")
    record.fail(Phase.RUN, "broken")
    with pytest.raises(ServiceUnavailable, match=r"Bell is provided by plugin 'bells', which is failed\(run\)"):
        catalog.one(Bell, consumer="x")


def test_nobody_provides_it(catalog):
    """An unknown contract is unavailable, and known as such before anything starts."""
    assert not catalog.knows(Bell)
    with pytest.raises(ServiceUnavailable, match="Bell is provided by no installed plugin"):
        catalog.one(Bell, consumer="x")


def test_a_second_provider_of_one_is_refused_with_both_names(catalog):
    """The first keeps it; the kernel's own cannot be replaced."""
    _running("bells", catalog, Provides(Bell), value="ding")

    with pytest.raises(
        HeartwoodError, match="the service Bell of plugin 'gong' is provided by plugin 'bells'; it can have one"
    ):
        catalog.promise(Record("gong"), Provides(Bell))
    with pytest.raises(HeartwoodError, match="the service Clock of plugin 'gong' is provided by the kernel"):
        catalog.promise(Record("gong"), Provides(Clock))
    assert "ding" == catalog.one(Bell, consumer="x")


def test_many_gives_the_running_providers_in_order_with_their_owners(catalog):
    """One that does not run is left out."""
    _running("a", catalog, Provides(Reader), value=1)
    down = _running("b", catalog, Provides(Reader), value=2)
    _running("c", catalog, Provides(Reader), value=3)
    down.state = State.RETRYING

    assert [("a", 1), ("c", 3)] == [(each.owner, each.value) for each in catalog.all(Reader, consumer="x")]


def test_several_services_come_from_a_mapping(catalog):
    """A lifespan that provides two yields a mapping of type to value."""
    _running("both", catalog, Provides(Bell), Provides(Reader), value={Bell: "ding", Reader: "read"})

    assert "ding" == catalog.one(Bell, consumer="x")
    assert ["read"] == [each.value for each in catalog.all(Reader, consumer="x")]


@pytest.mark.parametrize("yielded", [None, {Bell: "ding"}, "something else"])
def test_a_promise_that_is_not_kept_is_an_error(catalog, yielded):
    """The sentence names plugin and contract."""
    with pytest.raises(HeartwoodError, match="plugin 'both' provides Reader, but its lifespan did not yield it"):
        _running("both", catalog, Provides(Reader), *([] if yielded is None else [Provides(Bell)]), value=yielded)


def test_a_factory_is_called_for_each_use(catalog):
    """Such a service needs nothing of the lifespan."""
    made = iter(range(9))
    _running("bells", catalog, Provides(Bell, lambda: next(made)))

    assert catalog.per_use(Bell)
    assert [0, 1] == [catalog.one(Bell, consumer="x"), catalog.one(Bell, consumer="x")]


def test_what_is_retracted_may_be_provided_by_another(catalog):
    """A plugin that failed at collection leaves nothing behind."""
    gone = Record("gone")
    catalog.promise(gone, Provides(Bell))
    catalog.retract(gone)
    _running("bells", catalog, Provides(Bell), value="ding")

    assert "ding" == catalog.one(Bell, consumer="x")


def test_nobody_is_left_after_the_last_retraction(catalog):
    """A contract that was only promised by a failed plugin is unknown again."""
    gone = Record("gone")
    catalog.promise(gone, Provides(Bell))
    catalog.retract(gone)

    assert not catalog.knows(Bell)
