"""The pages for plugin authors do what they say: their files run in a hub, and their commands answer as shown."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
from attrs import frozen

from heartwood.testing import running_hub
from heartwood.testing.hub import merged
from heartwood_metrics.exporter import exporting

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "plugins"
PAGES = sorted(FOLDER.glob("*.md"))
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!http)([^)#]+)")


@frozen
class Block:
    """A piece of code of a page: its language, the file it is, and what follows it."""

    page: str
    language: str
    file: str | None
    text: str


BLOCKS = [Block(page.name, *found) for page in PAGES for found in BLOCK.findall(page.read_text(encoding="utf-8"))]
CURLS = [
    (command, answer)
    for command, answer in pairwise(BLOCKS)
    if command.language == "sh" and command.text.startswith("curl")
]


def _written(folder):
    """Write the files of all pages; settings of several pages become one file."""
    config = {}
    for block in BLOCKS:
        if block.file == "plugins.toml":
            config = merged(config, tomllib.loads(block.text))
        elif block.file:
            (folder / block.file).parent.mkdir(exist_ok=True)
            (folder / block.file).write_text(block.text, encoding="utf-8")
    names = [file.stem for file in (folder / "hub-plugins").glob("*.py")]
    return merged({"plugins": {name: {} for name in names}}, config), names


@pytest.fixture(scope="module", name="seen")
def _seen(tmp_path_factory):
    """Run every plugin of the pages in one hub, and every curl line against it; returns states and what was printed."""
    folder = tmp_path_factory.mktemp("pages")
    config, names = _written(folder)
    own = {"loader": {"plugins_dir": str(folder / "hub-plugins")}, "plugins": {"metrics": {"config": {"listen": ""}}}}

    async def look():
        async with running_hub(discover=True, config=merged(config, own)) as hub:
            (folder / ".data").mkdir()
            (folder / ".data" / "local-token").write_text(hub.kernel.places.local_token.read_text())
            printed = []
            async with exporting(hub.kernel.metrics.registry, "127.0.0.1:0") as exporter:
                for command, _ in CURLS:
                    line = command.text.replace("http://127.0.0.1:8000", hub.url)
                    line = line.replace("http://127.0.0.1:9999/metrics", exporter)
                    shell = await asyncio.create_subprocess_exec("sh", "-c", line, cwd=folder, stdout=subprocess.PIPE)
                    printed.append((await shell.communicate())[0].decode())
                    await hub.jobs.drain()
            states = {name: (hub.kernel.by_name[name].label, hub.kernel.by_name[name].reason) for name in names}
            errors = {name: list(hub.kernel.by_name[name].failures) for name in names}
        return states, errors, printed

    return asyncio.run(look())


def test_every_plugin_of_the_pages_runs(seen):
    """Each file that a page shows is a plugin that starts."""
    states, errors, _ = seen

    assert dict.fromkeys(states, ("running", "")) == states
    assert [] == [error for each in errors.values() for error in each]


@pytest.mark.parametrize("number", range(len(CURLS)), ids=[f"{each.page}-{n}" for n, (each, _) in enumerate(CURLS)])
def test_a_command_answers_as_the_page_shows(seen, number):
    """What a page shows after a command is what the command prints."""
    answer, printed = CURLS[number][1], seen[2][number]
    if answer.language == "json":
        assert json.loads(answer.text) == json.loads(printed)
    else:
        assert answer.text == printed


def test_the_new_package_has_the_files_of_the_page(tmp_path):
    """``heartwood plugin new`` writes what the tutorial lists, and the entry point that it shows."""
    index = next(n for n, each in enumerate(BLOCKS) if each.text.startswith("heartwood plugin new"))
    command, listing, entry = BLOCKS[index : index + 3]
    words = command.text.split()
    subprocess.run([Path(sys.executable).parent / words[0], *words[1:]], cwd=tmp_path, check=True, capture_output=True)
    written = sorted(str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*") if each.is_file())

    assert listing.text.splitlines() == written
    assert entry.text in (tmp_path / "heartwood-recipes" / "pyproject.toml").read_text()


def test_the_test_of_the_page_passes(tmp_path):
    """The test that the page about testing shows passes for the guest book of the tutorial."""
    _written(tmp_path)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-o",
        "asyncio_mode=auto",
        "--rootdir",
        ".",
    ]
    done = subprocess.run(
        [*command, "-o", "pythonpath=hub-plugins", "test_guestbook.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    assert 0 == done.returncode, done.stdout + done.stderr
    assert "2 passed" in done.stdout


@pytest.mark.parametrize("page", [*PAGES, *(FOLDER / "hooks").glob("*.md")], ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    """Every link to another page is to one that exists."""
    links = LINK.findall(page.read_text(encoding="utf-8"))

    assert [] == [link for link in links if not (page.parent / link).exists()]


def test_every_page_is_listed():
    """The first page leads to all others."""
    listed = set(LINK.findall((FOLDER / "README.md").read_text(encoding="utf-8")))
    pages = {str(page.relative_to(FOLDER)) for page in FOLDER.rglob("*.md")}

    assert pages - {"README.md"} == listed


def test_the_written_pages_are_current():
    """The pages of hooks and of the public face are what the code says now."""
    command = [sys.executable, FOLDER / "write_reference.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert 0 == done.returncode, done.stderr
