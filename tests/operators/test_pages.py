"""The pages for operators and API users do what they say: their commands are typed, and what comes out is compared.

A block ``console`` has lines with ``$ `` before a command (``> `` before its next line), and what it prints below.
``…`` stands for anything, white space counts as one blank, and addresses are replaced by those of the hub under test.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from attrs import frozen

from heartwood.testing.database import folder_for_cluster

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs/operators").glob("*.md")), *sorted((ROOT / "docs/api").glob("*.md"))]
MINE = [*PAGES, ROOT / "docs/README.md", ROOT / "docs/developers.md", ROOT / "core/README.md", ROOT / "CHANGELOG.md"]
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!http)([^)#]+)(#[^)]*)?\)")
MARK = "@@next@@"


@frozen
class Step:
    """A command of a page, and what is shown below it."""

    command: str
    shown: str


def _steps(page: Path) -> list[Step]:
    steps: list[Step] = []
    for block in BLOCK.findall(page.read_text(encoding="utf-8")):
        for line in block.splitlines():
            if line.startswith("$ "):
                steps.append(Step(line[2:], ""))
            elif line.startswith("> "):
                steps[-1] = Step(f"{steps[-1].command}\n{line[2:]}", "")
            else:
                steps[-1] = Step(steps[-1].command, f"{steps[-1].shown}{line}\n")
    return steps


def _matches(shown: str, said: str) -> bool:
    parts = (re.escape(" ".join(part.split())) for part in shown.split("…"))
    pattern = r"\s*.*?\s*".join(parts)
    return re.fullmatch(pattern, " ".join(said.split()), re.DOTALL) is not None


def _free_ports(number: int) -> list[int]:
    taken = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [each.getsockname()[1] for each in taken]
    for each in taken:
        each.close()
    return ports


@pytest.fixture(name="typed")
def _typed():
    """A hub as ``./run`` starts it, and a function that types the commands of a page and returns what they print."""
    base = folder_for_cluster()
    base.chmod(0o711)
    ports = dict(zip(("8000", "8001", "9999"), _free_ports(3), strict=True))
    environ = {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "HOME": str(base),
        "LANG": "C.UTF-8",
        "COLUMNS": "200",
        "TERM": "dumb",
        "TTY_COMPATIBLE": "1",
        "RUNTIME_DIRECTORY": f"{base}/run.d",
        "HEARTWOOD__DATA__DIR": f"{base}/.data",
        "HEARTWOOD__WEB__LISTEN": f'["127.0.0.1:{ports["8000"]}"]',
        "HEARTWOOD__OBSERVE__LIVE_LISTEN": f"127.0.0.1:{ports['8001']}",
        "HEARTWOOD__PLUGINS__METRICS__CONFIG__LISTEN": f"127.0.0.1:{ports['9999']}",
    }
    shutil.copy(ROOT / "plugins.toml", base)
    (base / "tests").symlink_to(ROOT / "tests")
    (base / "run").write_text('#!/bin/sh\nexec heartwood "$@"\n')
    (base / "run").chmod(0o755)
    log = (base / "log").open("wb")
    hub = subprocess.Popen(["heartwood", "serve"], cwd=base, env=environ, stderr=log, executable=BIN / "heartwood")

    def type_in(steps: list[Step]) -> list[str]:
        script = "".join(f"{step.command}\necho {MARK}\n" for step in steps)
        for port, real in ports.items():
            script = script.replace(f"127.0.0.1:{port}", f"127.0.0.1:{real}")
        done = subprocess.run(
            ["sh"], input=script, cwd=base, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=60, check=False,
        )  # fmt: skip
        return done.stdout.split(MARK)[: len(steps)]

    try:
        _wait(f"http://127.0.0.1:{ports['8000']}/business/health", hub, base / "log")
        environ["token"] = (base / ".data/local-token").read_text().strip()
        yield type_in
    finally:
        hub.send_signal(signal.SIGINT)
        hub.wait(30)
        log.close()
        shutil.rmtree(base)


def _wait(url: str, hub: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, OSError):
            assert hub.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        else:
            return


@pytest.mark.slow
def test_commands_print_what_the_pages_show(typed):
    """Every command of every page for operators and API users, typed in order, prints what stands below it."""
    wrong = []
    for page in PAGES:
        steps = _steps(page)
        said = typed(steps)
        assert len(said) == len(steps), f"{page}: its commands ended after {len(said)}: {said[-1:]}"
        wrong += [
            f"{page.relative_to(ROOT)}: $ {step.command}\nshown: {step.shown}printed: {text}"
            for step, text in zip(steps, said, strict=True)
            if not _matches(step.shown, text)
        ]
    assert not wrong, "\n\n".join(wrong)


def test_there_is_something_to_type():
    """Pages are found, and their blocks have commands: the test above cannot pass by typing nothing."""
    assert sum(len(_steps(page)) for page in PAGES) > 50


def test_the_reference_of_settings_is_current():
    """The page of settings and that of plugins are what the commands print."""
    for page, command in (
        ("configuration.md", [BIN / "heartwood", "config", "reference"]),
        ("plugin-settings.md", [BIN / "heartwood", "config", "reference", "--plugins"]),
    ):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout == (ROOT / "docs/operators" / page).read_text(encoding="utf-8")


def test_the_plugin_of_the_readme_is_that_of_the_tutorial():
    """Both pages show the same file, which the tests of the tutorial run."""
    code = [
        re.search(r"^```python[^\n]*\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[1]
        for page in (ROOT / "README.md", ROOT / "docs/plugins/tutorial.md")
    ]
    assert code[0] == code[1]


def test_links_lead_somewhere():
    """Each link to a file of the repository names one that is there."""
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in MINE
        for target, _ in LINK.findall(page.read_text(encoding="utf-8"))
        if not (page.parent / target).exists()
    ]
    assert broken == []


def test_fragments_of_the_changelog_are_named_as_they_should_be():
    """Each one says in its name what it is about and of which kind it is, and has a text."""
    kinds = re.findall(r"^\| `(\w+)` \|", (ROOT / "changelog.d/README.md").read_text(encoding="utf-8"), re.MULTILINE)
    fragments = [file for file in (ROOT / "changelog.d").iterdir() if file.name != "README.md"]
    name = re.compile(rf"[a-z0-9-]+\.({'|'.join(kinds)})\.md")
    assert [file.name for file in fragments if not name.fullmatch(file.name) or not file.read_text().strip()] == []


def test_no_page_names_a_place_of_somebody():
    """Pages name no package registry and no folder of the machine on which they were written."""
    words = ("pypi.org", "pythonhosted", "/work/", "/root/")
    lines = ((page, line) for page in MINE for line in page.read_text(encoding="utf-8").splitlines())
    found = [f"{page.name}: {line}" for page, line in lines if any(word in line for word in words)]
    assert found == []


def test_the_scripts_are_plain_shell():
    """./run, ./test and what they share are read by sh without a complaint."""
    for name in ("run", "test", "setup.sh"):
        done = subprocess.run(["sh", "-n", ROOT / name], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("typed", "becomes"),
    [
        ("", "serve"),
        ("--no-jobs --strict", "serve --no-jobs --strict"),
        ("--set web.listen=x", "--set web.listen=x serve"),
        ("--set a.b=c --data=/d --strict", "--set a.b=c --data=/d serve --strict"),
        ("--set a.b=c token list --x", "--set a.b=c token list --x"),
        ("read --set FILE", "read --set FILE"),
        ("--help", "--help"),
        ("--set a.b=c --version", "--set a.b=c --version"),
    ],
)
def test_run_without_a_command_serves(tmp_path, typed, becomes):
    """Options of the whole command stay before ``serve``, those of ``serve`` behind it; a command stays as it is."""
    script = (ROOT / "run").read_text(encoding="utf-8")
    (tmp_path / "run").write_text(script)
    names = ("install_system_packages", "find_python", "install_python_packages")
    (tmp_path / "setup.sh").write_text("".join(f"{name}() {{ :; }}\n" for name in names))
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "heartwood").write_text('#!/bin/sh\necho "$*"\n')
    (tmp_path / ".venv" / "bin" / "heartwood").chmod(0o755)

    done = subprocess.run(["sh", "./run", *typed.split()], cwd=tmp_path, capture_output=True, text=True, check=True)

    said = done.stdout.split()
    assert ["--config", f"{tmp_path}/plugins.toml"] == said[:2]
    assert becomes == " ".join(said[4:] if said[2] == "--data" and said[3] == f"{tmp_path}/.data" else said[2:])
