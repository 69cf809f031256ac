"""What an optional, a required and a strictly checked plugin may cost, and the broken ones beside a real server."""

from __future__ import annotations

import json
import shutil
import signal
import urllib.error
import urllib.request
from pathlib import Path

import pytest

BROKEN = Path(__file__).parent.parent / "broken_plugins"
NAMES = sorted(file.stem for file in BROKEN.glob("*.py"))
SERVING = {"good", "leaking_task", "raising_handler", "raising_teardown"}

CROWD = """
[loader]
plugins_dir = "plugins"
import_timeout = 1.0
retry_first = 0.05

""" + "".join(f"[plugins.{name}]\n" for name in NAMES)

BAD = (
    '[loader]\nplugins_dir = "plugins"\n[plugins.bad_config]\nrequired = true\n[plugins.good]\n[plugins.import_error]\n'
)


@pytest.fixture(name="crowd")
def _crowd(machine_with_database):
    """A machine with all broken plugins and the good one."""
    shutil.copytree(BROKEN, machine_with_database.plugins, ignore=shutil.ignore_patterns("__pycache__"))
    machine_with_database.configure(CROWD.replace("[plugins.hung_start]", "[plugins.hung_start]\nstart_timeout = 0.3"))
    return machine_with_database


def ask(machine, hub, path):
    """Return the status, the media type and the JSON of what the owner is answered."""
    token = (machine.folder / "data" / "local-token").read_text().strip()
    request = urllib.request.Request(f"{hub.url}{path}", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.headers["Content-Type"], json.load(answer)
    except urllib.error.HTTPError as answer:
        return answer.code, answer.headers["Content-Type"], json.load(answer)


def test_a_server_lives_with_all_broken_plugins(crowd):
    """It serves the good one throughout, says the same of the others at both addresses, and ends with 0 when told."""
    with crowd.serve() as hub:
        listed = ask(crowd, hub, "/-/plugins")[2]
        labels = {each["name"]: each["label"] for each in listed["plugins"]}
        for name in NAMES:
            status, media, problem = ask(crowd, hub, f"/business/{name}/anything")
            if name not in SERVING:
                assert (503, "application/problem+json", name) == (status, media, problem["owner"]), problem
                assert labels[name] in problem["detail"]
            assert (200, "application/json", "hello") == ask(crowd, hub, "/business/good/hello")
        assert listed == ask(crowd, hub, "/business/plugins")[2]
        status = hub.stop(signal.SIGTERM)

    assert SERVING | {"core"} == {name for name, label in labels.items() if label == "running"}
    assert (0, []) == (status, hub.left()), hub.said
    assert "plugin sys_exit is failed(import): SystemExit: 3" in hub.said


def test_strict_prints_all_problems_together(crowd):
    """``--strict`` and ``--check`` exit 78 before anything is started, with a line for every plugin that cannot run."""
    expected = {name for name in NAMES if name not in {*SERVING, "failing_migration", "hung_start"}}
    for words in (("serve", "--strict"), ("serve", "--check")):
        done = crowd.run(*words)

        assert (78, "") == (done.returncode, done.stdout), done.stderr
        for name in expected:
            assert f"plugin '{name}' is failed(" in done.stderr
        assert "plugins.bad_config.config.port: missing; it must be given" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (crowd.folder / "data").exists()


def test_a_required_plugin_that_cannot_run_stops_the_start(crowd):
    """What is wrong with a required plugin exits 78 with all of it, and with what is wrong beside it."""
    crowd.configure(BAD)
    done = crowd.run("serve")

    assert 78 == done.returncode
    assert "plugin 'bad_config' is failed(configure)" in done.stderr
    assert "plugins.bad_config.config.address: missing; it must be given" in done.stderr
    assert "plugins.bad_config.config.port: missing; it must be given" in done.stderr
    assert "\noptional plugin 'import_error' is failed(import): ModuleNotFoundError" in done.stderr


@pytest.mark.parametrize(("required", "words"), [("true", ["serve"]), ("false", ["serve", "--strict"])])
def test_what_does_not_come_up_ends_the_server(crowd, required, words):
    """What is found out only while starting exits 78 with a sentence each, too, where it is required or strict."""
    names = ("failing_migration", "hung_start")
    sections = "".join(f"[plugins.{name}]\nrequired = {required}\n" for name in names)
    crowd.configure(f'[loader]\nplugins_dir = "plugins"\nstart_timeout = 0.3\n{sections}')
    done = crowd.run(*words)
    sentences = [line for line in done.stderr.splitlines() if not line.startswith("{")]

    assert 78 == done.returncode
    assert [f"plugin {name!r} is failed" for name in names] == [line.partition("(")[0] for line in sentences]
    assert "cron.failed" not in done.stderr, "the worker outlived the database"


def test_an_address_in_use_is_one_sentence(machine_with_database):
    """A second server at the same address ends with a sentence, not with a traceback."""
    with machine_with_database.serve():
        done = machine_with_database.run("serve")

    assert 1 == done.returncode
    assert str(machine_with_database.port) in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_wrong_with_the_kernels_settings_is_said_together_with_the_plugins(crowd):
    """A broken kernel section exits 78 with every problem there is: the plugins are looked at all the same."""
    crowd.configure(BAD + '[work]\nbatch = 0\n[hub]\ntimezone = "Mars"\n[webb]\n')
    done = crowd.run("serve")

    assert 78 == done.returncode
    for sentence in (
        "work.batch: ",
        "hub.timezone: expected a time zone",
        "did you mean 'web'?",
        "plugins.bad_config.config.port: missing; it must be given",
        "\noptional plugin 'import_error' is failed(import): ModuleNotFoundError",
    ):
        assert sentence in done.stderr
    assert not (crowd.folder / "data").exists()


def test_a_worker_logs_what_it_does_not_start(crowd):
    """Nobody reads a worker's pages: each plugin that failed before the start is a line with its phase and why."""
    names = ("import_error", "bad_config", "misspelt_hook", "metric_clash", "failing_migration", "good")
    crowd.configure(
        '[loader]\nplugins_dir = "plugins"\n[plugins.gone]\n' + "".join(f"[plugins.{each}]\n" for each in names)
    )
    with crowd.serve(role="worker") as worker:
        lines = [json.loads(line) for line in worker.said.splitlines()]
        status = worker.stop(signal.SIGTERM)

    failed = {line["plugin"]: (line["phase"], line["reason"]) for line in lines if line["event"] == "plugin.failed"}
    assert {
        "import_error": "import",
        "bad_config": "configure",
        "misspelt_hook": "register",
        "metric_clash": "collect",
        "failing_migration": "migrate",
        "gone": "discover",
    } == {name: phase for name, (phase, _) in failed.items()}
    assert "No module named 'a_package_that_is_not_installed'" in failed["import_error"][1]
    assert (0, []) == (status, worker.left())
