"""Broken configurations: a hub is started with each, and refuses with its exact sentences, all of them at once."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import attrs
import pytest
from attrs import field, frozen, validators

import heartwood.settings
from heartwood.api import Plugin
from heartwood.config.sources import read_layers
from heartwood.contracts.settings import Secret, setting
from heartwood.kernel import Kernel, Refused


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@frozen
class Retry:
    """How often."""

    max_tries: int = setting(3, help="Tries.", validator=validators.ge(1))
    delay: float = setting(1.0, help="Seconds.", validator=validators.gt(0))


@frozen
class Host:
    """One of several."""

    name: str = setting(help="Its name.")
    port: int = setting(80, help="Its port.")


@frozen
class Server:
    """A section beside those of the kernel, with every kind of setting there is."""

    pool_size: int = setting(10, help="Connections.", validator=validators.ge(2))
    timeout: float = setting(5.0, help="Seconds.")
    listen: list[str] = setting(factory=list, help="Addresses.")
    mode: Literal["fast", "safe"] = setting("fast", help="How.")
    colour: Colour = setting(Colour.RED, help="Which.")
    debug: bool = setting(False, help="Whether.")
    key: Secret | None = setting(None, help="A secret.", env=("SERVER_KEY",))
    url: str = setting("", help="An address.", env=("SERVER_URL",))
    limit: int | None = setting(None, help="At most.")
    name: str = setting("hub", help="A name.", validator=validators.max_len(8))
    retry: Retry = setting(factory=Retry, help="Retries.")
    weights: dict[str, int] = setting(factory=dict, help="Weights.")
    hosts: list[Host] = setting(factory=list, help="Hosts.")


@frozen
class Ocr:
    """The settings of a plugin; the language must be given."""

    language: str = setting(help="Language.")
    max_pages: int = setting(10, help="Pages.", validator=validators.ge(1))
    api_key: Secret | None = setting(None, help="A secret.")
    retry: Retry = setting(factory=Retry, help="Retries.")


@frozen
class Broken:
    """One broken configuration, and the sentences that it must be answered with."""

    name: str
    says: list[str]
    toml: str | bytes | None = None
    env: dict[str, str] = field(factory=dict)
    sets: tuple[str, ...] = ()
    plugins: dict[str, Any] = field(factory=dict)


F = "plugins.toml"
OCR = {"ocr": Ocr}
REFERENCE = 'expected { env = "NAME" } or { file = "/path" }'
KNOWN = "pool_size, timeout, listen, mode, colour, debug, key, url, limit, name, retry, weights, hosts"
SECTIONS = "sections are data, hub, loader, observe, plugins, server, web, work"
ADDRESS = (
    "is no valid address; write postgresql://user:password@host:5432/name, "
    "and in a password %2F for /, %3F for ?, %23 for #, %40 for @"
)

BROKEN = [
    # The file itself
    Broken("no file", [f"{F}: cannot be read: No such file or directory"]),
    Broken("value missing", [f"{F}:2: is not TOML: Invalid value in column 13"], "[server]\npool_size = \n"),
    Broken(
        "bracket missing",
        [f"{F}:1: is not TOML: Expected ']' at the end of a table declaration in column 8"],
        "[server\n",
    ),
    Broken("text without quotes", [f"{F}:2: is not TOML: Invalid value in column 8"], "[server]\nname = hub\n"),
    Broken(
        "text without end", [f"{F}:2: is not TOML: Illegal character '\\n' in column 12"], '[server]\nname = "hub\n'
    ),
    Broken("end of file", [f"{F}:2: is not TOML: Invalid value"], "[server]\nlisten = ['a',"),
    Broken(
        "key twice",
        [f"{F}:3: is not TOML: Cannot overwrite a value in column 14"],
        "[server]\npool_size = 3\npool_size = 4\n",
    ),
    Broken(
        "section twice", [f"{F}:2: is not TOML: Cannot declare ('server',) twice in column 8"], "[server]\n[server]\n"
    ),
    Broken(
        "equals sign missing",
        [f"{F}:2: is not TOML: Expected '=' after a key in a key/value pair in column 7"],
        "[server]\ndebug true\n",
    ),
    Broken("JSON", [f"{F}:1: is not TOML: Invalid statement in column 1"], '{"server": {}}'),
    Broken("not UTF-8", [f"{F}:2: is not UTF-8: byte 0xfc"], b"[server]\nname = 'M\xfcller'\n"),
    Broken("UTF-16", [f"{F}:1: is not UTF-8: byte 0xff"], "[server]".encode("utf-16")),
    Broken("NUL", [f"{F}:1: is not TOML: Invalid statement in column 1"], b"\x00\x00"),
    Broken("nested too deeply", [f"{F}: is not TOML that can be read: nested too deeply"], "a = " + "[" * 20_000),
    # Sections
    Broken("unknown section", [f"{F}:1 serve: unknown section; did you mean 'server'?"], "[serve]\n"),
    Broken("unknown section, nothing like it", [f"{F}:1 zzz: unknown section; {SECTIONS}"], "[zzz]\n"),
    Broken("plugin without plugins", [f"{F}:1 plugin: unknown section; did you mean 'plugins'?"], "[plugin.ocr]\n"),
    Broken(
        "key outside of a section", [f"{F}:1 pool_size: stands outside of a section; {SECTIONS}"], "pool_size = 3\n"
    ),
    Broken("section is a number", [f"{F}:1 server: expected a table, [server]"], "server = 3\n"),
    Broken("section is an array", [f"{F}:1 server: expected a table, [server]"], "[[server]]\nname = 'a'\n"),
    Broken(
        "unknown section in the environment",
        ["sever: unknown section; did you mean 'server'? (from env HEARTWOOD__SEVER__POOL_SIZE)"],
        env={"HEARTWOOD__SEVER__POOL_SIZE": "3"},
        toml="",
    ),
    Broken(
        "unknown section on the command line",
        ["sever: unknown section; did you mean 'server'? (from --set)"],
        sets=("sever.pool_size=3",),
        toml="",
    ),
    # Keys
    Broken(
        "unknown key", [f"{F}:2 server.pol_size: unknown key; did you mean 'pool_size'?"], "[server]\npol_size = 3\n"
    ),
    Broken(
        "unknown key, nothing like it", [f"{F}:2 server.zzz: unknown key; known are {KNOWN}"], "[server]\nzzz = 3\n"
    ),
    Broken(
        "unknown key below",
        [f"{F}:2 server.retry.max_trys: unknown key; did you mean 'max_tries'?"],
        "[server.retry]\nmax_trys = 3\n",
    ),
    Broken(
        "unknown key in an inline table",
        [f"{F}:2 server.retry.max_trys: unknown key; did you mean 'max_tries'?"],
        "[server]\nretry = { max_trys = 3 }\n",
    ),
    Broken(
        "unknown key in the environment",
        ["server.pol_size: unknown key; did you mean 'pool_size'? (from env HEARTWOOD__SERVER__POL_SIZE)"],
        env={"HEARTWOOD__SERVER__POL_SIZE": "3"},
        toml="",
    ),
    Broken(
        "unknown key on the command line",
        ["server.pol_size: unknown key; did you mean 'pool_size'? (from --set)"],
        sets=("server.pol_size=3",),
        toml="",
    ),
    Broken(
        "misspelt secret is not shown",
        [f"{F}:2 server.kye: unknown key; did you mean 'key'?"],
        "[server]\nkye = 'hunter2'\n",
    ),
    # Types
    Broken(
        "text for a number", [f"{F}:3 server.pool_size: expected int, got str '3'"], "[server]\n\npool_size = '3'\n"
    ),
    Broken(
        "fraction for a whole number",
        [f"{F}:2 server.pool_size: expected int, got float 2.9"],
        "[server]\npool_size = 2.9\n",
    ),
    Broken(
        "truth for a number", [f"{F}:2 server.pool_size: expected int, got bool True"], "[server]\npool_size = true\n"
    ),
    Broken("number for truth", [f"{F}:2 server.debug: expected bool, got int 1"], "[server]\ndebug = 1\n"),
    Broken("number for text", [f"{F}:2 server.name: expected str, got int 7"], "[server]\nname = 7\n"),
    Broken("text for a list", [f"{F}:2 server.listen: expected list, got str 'a'"], "[server]\nlisten = 'a'\n"),
    Broken(
        "number in a list",
        [f"{F}:2 server.listen.1: expected str, got int 7"],
        "[server]\nlisten = [\n  'a',\n  7,\n]\n",
    ),
    Broken("list for a table", [f"{F}:2 server.retry: expected dict, got list [3]"], "[server]\nretry = [3]\n"),
    Broken(
        "text in a table of numbers",
        [f"{F}:3 server.weights.b: expected int, got str 'x'"],
        "[server.weights]\na = 1\nb = 'x'\n",
    ),
    Broken(
        "wrong choice", [f"{F}:2 server.mode: expected one of 'fast', 'safe', got 'slow'"], "[server]\nmode = 'slow'\n"
    ),
    Broken(
        "wrong member",
        [f"{F}:2 server.colour: expected one of 'red', 'blue', got 'green'"],
        "[server]\ncolour = 'green'\n",
    ),
    Broken(
        "text for a number or nothing",
        [f"{F}:2 server.limit: expected int or None, got str 'none'"],
        "[server]\nlimit = 'none'\n",
    ),
    Broken(
        "a date for text",
        [f"{F}:2 server.name: expected str, got date datetime.date(2026, 1, 1)"],
        "[server]\nname = 2026-01-01\n",
    ),
    Broken(
        "one of several tables",
        [f"{F}:5 server.hosts.1.port: expected int, got str 'c'"],
        "[[server.hosts]]\nname = 'a'\n[[server.hosts]]\nname = 'b'\nport = 'c'\n",
    ),
    Broken(
        "missing in one of several tables",
        [f"{F}:3 server.hosts.1.name: missing; it must be given"],
        "[[server.hosts]]\nname = 'a'\n[[server.hosts]]\nport = 1\n",
    ),
    # Validators
    Broken("too small", [f"{F}:2 server.pool_size: must be >= 2, got 1"], "[server]\npool_size = 1\n"),
    Broken(
        "too small below", [f"{F}:2 server.retry.max_tries: must be >= 1, got 0"], "[server.retry]\nmax_tries = 0\n"
    ),
    Broken(
        "too long",
        [f"{F}:2 server.name: Length of 'name' must be <= 8: 19"],
        "[server]\nname = 'far too long a name'\n",
    ),
    Broken(
        "too small in the environment",
        ["server.pool_size: must be >= 2, got 1 (from env HEARTWOOD__SERVER__POOL_SIZE)"],
        env={"HEARTWOOD__SERVER__POOL_SIZE": "1"},
        toml="",
    ),
    # Text from the environment and the command line
    Broken(
        "text for a number in the environment",
        ["server.pool_size: expected int, got str 'ten' (from env HEARTWOOD__SERVER__POOL_SIZE)"],
        env={"HEARTWOOD__SERVER__POOL_SIZE": "ten"},
        toml="",
    ),
    Broken(
        "both file and environment",
        [f"{F}:2 server.pool_size: expected int, got str '5' (from env HEARTWOOD__SERVER__POOL_SIZE)"],
        "[server]\npool_size = 5\n",
        env={"HEARTWOOD__SERVER__POOL_SIZE": "'5'"},
    ),
    Broken(
        "yes for true",
        ["server.debug: expected bool, got str 'yes' (from env HEARTWOOD__SERVER__DEBUG)"],
        env={"HEARTWOOD__SERVER__DEBUG": "yes"},
        toml="",
    ),
    Broken(
        "text for a number on the command line",
        ["server.retry.delay: expected float, got str 'soon' (from --set)"],
        sets=("server.retry.delay=soon",),
        toml="",
    ),
    Broken(
        "a section in the environment",
        ["server: names a section; add a key (from env HEARTWOOD__SERVER)"],
        env={"HEARTWOOD__SERVER": "x"},
        toml="",
    ),
    Broken(
        "--set without a value",
        ["--set 'server.pool_size': write --set section.key=value (from --set)"],
        sets=("server.pool_size",),
        toml="",
    ),
    Broken(
        "--set without a section",
        ["--set 'pool_size': write --set section.key=value (from --set)"],
        sets=("pool_size=3",),
        toml="",
    ),
    Broken(
        "--set with an empty part",
        ["--set 'server..x': write --set section.key=value (from --set)"],
        sets=("server..x=3",),
        toml="",
    ),
    # Secrets
    Broken("secret as plain text", [f"{F}:2 server.key: {REFERENCE}, got plain text"], "[server]\nkey = 'hunter2'\n"),
    Broken(
        "secret on the command line",
        [f"server.key: {REFERENCE}, got plain text (from --set)"],
        sets=("server.key=hunter2",),
        toml="",
    ),
    Broken("secret as a number", [f"{F}:2 server.key: {REFERENCE}, got int"], "[server]\nkey = 7\n"),
    Broken(
        "variable of a secret not set",
        [f"{F}:2 server.key: environment variable ABSENT is not set"],
        "[server]\nkey = { env = 'ABSENT' }\n",
    ),
    Broken(
        "file of a secret not there",
        [f"{F}:2 server.key: file absent cannot be read: No such file or directory"],
        "[server]\nkey = { file = 'absent' }\n",
    ),
    Broken(
        "file of a secret is a folder",
        [f"{F}:2 server.key: file / cannot be read: Is a directory"],
        "[server]\nkey = { file = '/' }\n",
    ),
    Broken(
        "file of a secret is endless",
        [f"{F}:2 server.key: file /dev/zero has more than 65536 bytes"],
        "[server]\nkey = { file = '/dev/zero' }\n",
    ),
    Broken(
        "file of a secret is empty",
        [f"{F}:2 server.key: file /dev/null is empty"],
        "[server]\nkey = { file = '/dev/null' }\n",
    ),
    Broken(
        "reference with another key", [f"{F}:2 server.key: {REFERENCE}, got dict"], "[server]\nkey = { vault = 'x' }\n"
    ),
    Broken(
        "reference with two keys",
        [f"{F}:2 server.key: {REFERENCE}, got dict"],
        "[server]\nkey = { env = 'A', file = 'b' }\n",
    ),
    Broken(
        "NAME_FILE not there",
        ["server.url: file absent cannot be read: No such file or directory (from env SERVER_URL_FILE)"],
        env={"SERVER_URL_FILE": "absent"},
        toml="",
    ),
    Broken(
        "HEARTWOOD__NAME_FILE not there",
        ["server.key: file /absent cannot be read: No such file or directory (from env HEARTWOOD__SERVER__KEY_FILE)"],
        env={"HEARTWOOD__SERVER__KEY_FILE": "/absent"},
        toml="",
    ),
    *(
        Broken(
            f"password with {sign}",
            [f"data.database_url: {ADDRESS} (from env DATABASE_URL)"],
            env={"DATABASE_URL": f"postgresql://me:hunter2{sign}x@localhost/hub"},
            toml="",
        )
        for sign in "/?#"
    ),
    Broken(
        "password that passes for a port",
        [f"data.migrate_url: {ADDRESS} (from env HEARTWOOD__DATA__MIGRATE_URL)"],
        env={"HEARTWOOD__DATA__MIGRATE_URL": "postgresql://me:12345/hunter2@localhost/hub"},
        toml="",
    ),
    # Plugins
    Broken("plugins is a number", [f"{F}:1 plugins: expected a table, [plugins]"], "plugins = 3\n"),
    Broken("plugin is truth", [f"{F}:2 plugins.ocr: expected a table, [plugins.ocr]"], "[plugins]\nocr = true\n"),
    Broken(
        "switch is text",
        [f"{F}:2 plugins.ocr.enabled: expected bool, got str 'yes'"],
        "[plugins.ocr]\nenabled = 'yes'\n",
    ),
    Broken(
        "unknown switch",
        [f"{F}:2 plugins.ocr.enable: unknown key; did you mean 'enabled'?"],
        "[plugins.ocr]\nenable = true\n",
    ),
    Broken(
        "setting beside the switches",
        [f"{F}:2 plugins.ocr.language: unknown key; known are enabled, required, start_timeout, stop_timeout"],
        "[plugins.ocr]\nlanguage = 'deu'\n",
    ),
    Broken(
        "limit is text",
        [f"{F}:2 plugins.ocr.start_timeout: expected float or None, got str '30'"],
        "[plugins.ocr]\nstart_timeout = '30'\n",
    ),
    Broken(
        "no time to start",
        [f"{F}:2 plugins.ocr.start_timeout: must be > 0, got 0.0"],
        "[plugins.ocr]\nstart_timeout = 0\n",
    ),
    Broken(
        "less than no time to stop",
        [f"{F}:2 plugins.ocr.stop_timeout: must be > 0, got -5.0"],
        "[plugins.ocr]\nstop_timeout = -5.0\n",
    ),
    Broken(
        "folder of plugins not there",
        [f"{F}:2 loader.plugins_dir: there is no folder absent"],
        "[loader]\nplugins_dir = 'absent'\n",
    ),
    Broken(
        "switch in the environment is text",
        ["plugins.ocr.enabled: expected bool, got str 'off' (from env HEARTWOOD__PLUGINS__OCR__ENABLED)"],
        env={"HEARTWOOD__PLUGINS__OCR__ENABLED": "off"},
        toml="",
    ),
    Broken(
        "config is a number",
        [f"{F}:2 plugins.ocr.config: expected a table, [plugins.ocr.config]"],
        "[plugins.ocr]\nconfig = 3\n",
        plugins=OCR,
    ),
    Broken(
        "setting that must be given",
        [f"{F}:1 plugins.ocr.config.language: missing; it must be given"],
        "[plugins.ocr]\n",
        plugins=OCR,
    ),
    Broken(
        "unknown setting of a plugin",
        [f"{F}:3 plugins.ocr.config.max_page: unknown key; did you mean 'max_pages'?"],
        "[plugins.ocr.config]\nlanguage = 'deu'\nmax_page = 3\n",
        plugins=OCR,
    ),
    Broken(
        "settings of a plugin that has none",
        [f"{F}:2 plugins.clock.config.zone: unknown key"],
        "[plugins.clock.config]\nzone = 'UTC'\n",
        plugins={"clock": None},
    ),
    # Everything at once
    Broken(
        "eight problems in a plugin and a section",
        [
            f"{F}:2 server.pool_size: must be >= 2, got 1",
            "server.debug: expected bool, got str 'maybe' (from env HEARTWOOD__SERVER__DEBUG)",
            "server.limit: expected int or None, got str 'x' (from --set)",
            f"{F}:3 server.listn: unknown key; did you mean 'listen'?",
            f"{F}:4 plugins.ocr.config.language: missing; it must be given",
            f"{F}:5 plugins.ocr.config.max_pages: must be >= 1, got 0",
            f"{F}:7 plugins.ocr.config.api_key: {REFERENCE}, got plain text",
            f"{F}:6 plugins.ocr.config.retry.max_tries: expected int, got str '3'",
        ],
        "[server]\npool_size = 1\nlistn = []\n"
        "[plugins.ocr.config]\nmax_pages = 0\nretry = { max_tries = '3' }\napi_key = 'hunter2'\n",
        env={"HEARTWOOD__SERVER__DEBUG": "maybe"},
        sets=("server.limit=x",),
        plugins=OCR,
    ),
]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    """Give the kernel one more section, and a folder in which nothing lies."""
    more = attrs.make_class("More", {"server": field()}, bases=(heartwood.settings.Settings,), frozen=True)
    monkeypatch.setattr(heartwood.settings, "Settings", more)
    monkeypatch.setattr(heartwood.settings, "SECTIONS", {**heartwood.settings.SECTIONS, "server": Server})
    monkeypatch.chdir(tmp_path)


def refused(broken):
    """Return the lines with which a hub refuses to start."""
    file = Path("plugins.toml")
    if broken.toml is not None:
        file.write_bytes(broken.toml.encode() if isinstance(broken.toml, str) else broken.toml)
    plugins = [type(name.title(), (Plugin,), {"name": name, "config": cls}) for name, cls in broken.plugins.items()]
    layers = read_layers(file, broken.env, broken.sets)
    with pytest.raises(Refused) as error:
        Kernel(layers, role="serve", strict=True, plugins=plugins, environ={})
    return str(error.value).splitlines()


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.name)
def test_every_problem_is_said_in_its_sentence(broken):
    """A broken configuration is answered by these sentences and no others, and no secret is in them."""
    lines = refused(broken)

    of_plugins = tuple(f"plugin {name!r} is failed(configure): " for name in broken.plugins)
    said = [next((line.removeprefix(each) for each in of_plugins if line.startswith(each)), line) for line in lines]
    assert broken.says == said
    assert "hunter2" not in "".join(lines)


def test_a_folder_is_no_file(tmp_path):
    """A folder where the file should be is said to be one."""
    layers = read_layers(tmp_path, {}, ())
    assert [str(finding) for finding in layers.findings] == [f"{tmp_path}: cannot be read: Is a directory"]
