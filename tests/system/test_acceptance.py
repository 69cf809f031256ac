"""The ten acceptance checks of the plugin system, each a test.

Those that stand elsewhere are named here:

== ============================================================ ====================================================
 1 ``plugin disable x`` works while importing x raises          below
 2 two kernels in one process share nothing                     ``test_between_plugins.py``
 3 a disabled plugin's module is not in ``sys.modules``         below
 4 six problems in two plugins are one report                   below
 5 each broken plugin has its state and message, and the        ``../kernel_plugins/test_broken.py``, and beside a
   good one answers 200                                         real server ``test_strictness.py``
 6 a hung ``lifespan`` costs ``start_timeout`` and not more     ``../kernel_plugins/test_lifecycle.py``
 7 ``db upgrade`` is green without a package, and lists its     ``../faults/test_start.py``
   schema as an orphan
 8 servers that start together migrate once                     ``../faults/test_start.py``
 9 ``openapi.json`` covers every route and validates            ``test_openapi.py``
10 the start is quick, and ``/-/plugins`` says where the        ``bench/bench_start.py`` measures it; below
   time went
== ============================================================ ====================================================
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

from heartwood.api import Plugin, hookimpl

HERE = Path(__file__).parent
ELSEWHERE = (
    ("test_between_plugins.py", "test_two_hubs_in_one_process_share_nothing"),
    ("test_strictness.py", "test_a_server_lives_with_all_broken_plugins"),
    ("../kernel_plugins/test_broken.py", "test_its_state_and_sentence_are_right"),
    ("../kernel_plugins/test_lifecycle.py", "test_a_hanging_start_costs_its_limit_only"),
    ("../faults/test_start.py", "test_removed_plugins_leave_orphans"),
    ("../faults/test_start.py", "test_four_servers_at_once_migrate_once"),
    ("test_openapi.py", "test_openapi_covers_every_route_and_validates"),
)


def test_the_checks_elsewhere_are_there():
    """What the table of this file names is found by pytest, and would be run."""
    files = sorted({str(HERE / file) for file, _ in ELSEWHERE})
    words = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    found = subprocess.run(words, cwd=HERE.parent.parent, capture_output=True, text=True, check=False).stdout

    collected = {
        (Path(line.partition("::")[0]).name, line.partition("::")[2].partition("[")[0]) for line in found.splitlines()
    }
    assert [] == [each for each in ELSEWHERE if (Path(each[0]).name, each[1]) not in collected]
    assert [] == [file for file, _ in ELSEWHERE if file not in __doc__]


def test_a_plugin_that_cannot_be_imported_is_switched_off(machine):
    """A hub that does not start for a plugin is mended by one command, which does not import it."""
    machine.plugin("boom", "raise SystemExit('imported')\n")
    machine.configure('[loader]\nplugins_dir = "plugins"\n\n[plugins.boom] # mine\nrequired = true\n')
    refused = machine.run("serve")
    assert 78 == refused.returncode
    assert "plugin 'boom' is failed(import): SystemExit: imported" in refused.stderr

    switched = machine.run("plugin", "disable", "boom")

    assert (0, "") == (switched.returncode, switched.stderr)
    assert "[plugins.boom] # mine\n" in (machine.folder / "plugins.toml").read_text()
    checked = machine.run("serve", "--check")
    assert 0 == checked.returncode, checked.stderr
    assert "boom\tdisabled" in machine.run("plugin", "list").stdout


async def test_a_disabled_plugin_is_not_imported(hub_factory, tmp_path):
    """Its code does not run, it is listed as disabled, and its prefix says so."""
    (tmp_path / "asleep.py").write_text("raise SystemExit('imported')\n")
    config = {"loader": {"plugins_dir": str(tmp_path)}, "plugins": {"asleep": {"enabled": False}}}
    hub = await hub_factory(discover=True, config=config)
    async with hub.client.get("/business/asleep") as away, hub.client.get("/business/plugins/asleep") as shown:
        assert (503, "disabled") == (away.status, (await shown.json())["label"])
        assert "Plugin 'asleep' is disabled" in (await away.json())["detail"]


def test_a_disabled_package_is_not_imported(machine):
    """A process of its own imports the plugin that is on, and no module of the one that is off."""
    machine.configure("[plugins.metrics]\n\n[plugins.ocr]\nenabled = false\n")
    machine.environ["PYTHONPROFILEIMPORTTIME"] = "1"

    imported = machine.run("serve", "--check").stderr

    assert "heartwood_metrics" in imported
    assert "heartwood_ocr" not in imported


SETTINGS = """
from attrs import frozen

from heartwood.api import Plugin, setting


@frozen
class Config:
    word: str = setting(help="Which.")
    size: int = setting(1, help="How big.")


class Mine(Plugin):
    config = Config
"""


def test_six_problems_in_two_plugins_are_one_report(machine):
    """Each has its file, line, key, value and source, from the file and from the environment alike."""
    for name in ("one", "two"):
        machine.plugin(name, SETTINGS)
    machine.configure(
        '[loader]\nplugins_dir = "plugins"\n'
        '[plugins.one.config]\nsize = "3"\nwrod = "x"\n'
        "[plugins.two.config]\nsize = 2.5\nword = 7\n"
    )
    machine.environ["HEARTWOOD__PLUGINS__TWO__CONFIG__COLOUR"] = "red"
    done = machine.run("serve", "--check")
    lines = (machine.folder / "plugins.toml").read_text().splitlines()

    assert 78 == done.returncode
    for key, sentence in (
        ('size = "3"', "plugins.one.config.size: expected int, got str '3'"),
        ('wrod = "x"', "plugins.one.config.wrod: unknown key; did you mean 'word'?"),
        ("[plugins.one.config]", "plugins.one.config.word: missing; it must be given"),
        ("size = 2.5", "plugins.two.config.size: expected int, got float 2.5"),
        ("word = 7", "plugins.two.config.word: expected str, got int 7"),
    ):
        assert f"plugins.toml:{lines.index(key) + 1} {sentence}" in done.stderr, done.stderr
    assert "plugins.two.config.colour: unknown key" in done.stderr
    assert "(from env HEARTWOOD__PLUGINS__TWO__CONFIG__COLOUR)" in done.stderr


class Slow(Plugin):
    """Its start takes a tenth of a second."""

    name = "slow"

    @hookimpl
    @asynccontextmanager
    async def lifespan(self):
        await asyncio.sleep(0.1)
        yield


async def test_plugins_say_where_the_time_of_the_start_went(hub_factory, tmp_path):
    """Import and start are told in seconds, of each plugin, in ``/-/plugins`` and in the metrics."""
    (tmp_path / "heavy.py").write_text(
        "import time\ntime.sleep(0.1)\nfrom heartwood.api import Plugin\nclass Heavy(Plugin): ...\n"
    )
    given = await hub_factory(plugins=[Slow])
    found = await hub_factory(
        discover=True, config={"loader": {"plugins_dir": str(tmp_path)}, "plugins": {"heavy": {}}}
    )
    reports = {}
    for hub in (given, found):
        async with hub.client.get("/-/plugins") as answer:
            reports |= {each["name"]: each for each in (await answer.json())["plugins"]}

    assert reports["slow"]["start_seconds"] >= 0.1 > reports["core"]["start_seconds"]
    assert reports["heavy"]["import_seconds"] >= 0.1 > reports["heavy"]["start_seconds"]
    value = found.kernel.metrics.registry.get_sample_value("heartwood_plugin_import_seconds", {"plugin": "heavy"})
    assert reports["heavy"]["import_seconds"] == value
