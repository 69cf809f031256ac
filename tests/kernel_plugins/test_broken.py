"""Every broken plugin of ``tests/broken_plugins`` in one hub: each costs itself, and the good one serves throughout."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from heartwood.testing import conformance, running_hub

FOLDER = Path(__file__).parent.parent / "broken_plugins"
NAMES = sorted(file.stem for file in FOLDER.glob("*.py"))

EXPECTED = {
    "bad_config": ("failed(configure)", "plugins.bad_config.config.address: missing; it must be given"),
    "bad_path": ("failed(collect)", "routes 'GET /{a-b}': the path '/{a-b}' cannot be mounted: "),
    "base_exception": ("failed(import)", "Unheard: at import"),
    "exit_in_hook": ("failed(collect)", "jobs: SystemExit: 4"),
    "failing_migration": ("failed(migrate)", "division by zero"),
    "hung_start": ("failed(start)", "did not start within 0.4 s (start_timeout)"),
    "import_error": ("failed(import)", "ModuleNotFoundError: No module named 'a_package_that_is_not_installed'"),
    "import_io": ("failed(import)", "ConnectionRefusedError"),
    "metric_clash": (
        "failed(collect)",
        "plugin 'metric_clash': metric heartwood_plugin_up belongs to the kernel already",
    ),
    "misspelt_hook": ("failed(register)", "there is no hook 'rotues'; did you mean 'routes'?"),
    "raising_collector": ("failed(collect)", "metrics: ZeroDivisionError: division by zero"),
    "route_clash": ("failed(collect)", "plugin 'route_clash' has the same twice: 'GET /{number}', 'GET /{name}'"),
    "same_subscribers": (
        "failed(collect)",
        "plugin 'same_subscribers' has two handlers called 'on_rang@same_subscribers.rang'; rename one",
    ),
    "sleeping_import": ("failed(import)", "the import took longer than 2 s (loader.import_timeout)"),
    "sys_exit": ("failed(import)", "SystemExit: 3"),
    "unknown_owner": ("failed(collect)", "routes 'GET ': its owner 'nobody' is no plugin that is enabled"),
    "wrong_argument": ("failed(register)", "request"),
    "wrong_tables": ("failed(collect)", "tables: expected an iterable of Migration, got 3"),
    "good": ("running", ""),
    "leaking_task": ("running", ""),
    "raising_handler": ("running", ""),
    "raising_teardown": ("running", ""),
}


@pytest.fixture(scope="module", name="seen")
def _seen():
    """Run one hub with all of them; returns what its API says of each plugin, and what their prefixes answer."""

    async def look():
        plugins = {name: {} for name in NAMES} | {"hung_start": {"start_timeout": 0.4}}
        loader = {"plugins_dir": str(FOLDER), "import_timeout": 2.0}
        async with running_hub(discover=True, config={"plugins": plugins, "loader": loader}) as hub:
            answers = {}
            for name in NAMES:
                async with hub.client.get(f"/business/{name}") as answer:
                    answers[name] = (answer.status, await answer.json())
                async with hub.client.get("/business/good/hello") as answer:
                    assert (200, "hello") == (answer.status, await answer.json()), f"after {name}"
            async with hub.client.get("/business/plugins") as answer:
                reports = {each["name"]: each for each in (await answer.json())["plugins"]}
            records = hub.kernel.by_name
        forgotten = [task for task in asyncio.all_tasks() if task.get_name() == "the forgotten task"]
        for task in forgotten:
            task.cancel()
        return reports, answers, records

    return asyncio.run(look())


def test_every_broken_plugin_is_here():
    """The table of this test and the folder have the same names."""
    assert sorted(EXPECTED) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_its_state_and_sentence_are_right(seen, name):
    """The API names the state and says what is wrong."""
    report = seen[0][name]
    label, sentence = EXPECTED[name]

    assert label == report["label"], report["reason"]
    assert sentence in report["reason"]


@pytest.mark.parametrize("name", [name for name in NAMES if EXPECTED[name][0] != "running"])
def test_its_prefix_says_who_does_not_serve(seen, name):
    """All below its prefix is 503 with a problem that names the plugin."""
    status, problem = seen[1][name]

    assert 503 == status
    assert name in problem["detail"]


def test_a_raising_handler_is_a_500_without_details(seen):
    """The client learns nothing of the error; the plugin's record does."""
    status, problem = seen[1]["raising_handler"]

    assert 500 == status
    assert "secret" not in str(problem)
    assert "ZeroDivisionError: a secret detail" == seen[2]["raising_handler"].failures[-1].message


def test_a_raising_teardown_is_in_the_record(seen):
    """The hub stopped all the same, and so did the others."""
    assert "RuntimeError: the upstream did not say goodbye" == seen[2]["raising_teardown"].failures[-1].message
    assert {"stopped"} == {seen[2][name].label for name in NAMES if EXPECTED[name][0] == "running"}


def test_the_conformance_test_finds_a_forgotten_task():
    """A task that outlives the lifespan is named to its author."""
    import importlib.util
    import sys

    spec = importlib.util.spec_from_file_location("leaking_task", FOLDER / "leaking_task.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["leaking_task"] = module
    sys.path.append(str(FOLDER))
    try:
        spec.loader.exec_module(module)
        module.Broken.name = "leaking_task"
        with pytest.raises(AssertionError, match="leaking_task left behind tasks: the forgotten task"):
            conformance(module.Broken)
    finally:
        sys.path.remove(str(FOLDER))
        del sys.modules["leaking_task"]
