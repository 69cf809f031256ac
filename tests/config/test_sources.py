"""A later layer wins, and every value remembers where it came from."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import frozen

from heartwood.config.findings import ConfigError
from heartwood.config.report import read_all, shown
from heartwood.config.sources import Origin, PluginSwitch, read_layers
from heartwood.contracts.settings import Secret, setting


@frozen
class Pool:
    """Nested."""

    size: int = setting(10, help="Connections.")


@frozen
class Server:
    """A section."""

    name: str = setting("hub", help="Its name.")
    listen: list[str] = setting(factory=list, help="Addresses.")
    pool: Pool = setting(factory=Pool, help="The pool.")
    key: Secret | None = setting(None, help="A secret.", env=("SERVER_KEY",))
    limit: int | None = setting(None, help="A limit.")
    weights: dict[str, int] = setting(factory=dict, help="Weights.")
    timeout: float = setting(5.0, help="Seconds.")
    debug: bool = setting(False, help="Whether.")


FILE = """\
[server]
name = "file"
listen = ["a"]

[server.pool]
size = 1

[plugins.ocr]
required = true
config = { language = "deu", api_key = { env = "OCR_KEY" } }
"""


@frozen
class Ocr:
    """A plugin's settings."""

    language: str = setting(help="Language.")
    api_key: Secret | None = setting(None, help="A secret.")


@pytest.fixture(name="file")
def _file(tmp_path):
    file = tmp_path / "plugins.toml"
    file.write_text(FILE)
    return file


def loaded(file=None, env=None, sets=()):
    layers = read_layers(file, env or {}, sets)
    section = layers.section("server", Server)
    assert layers.findings == []
    assert section.findings == []
    return section


def test_nothing_given_is_all_defaults():
    """Without a file and variables every value is its default and comes from nowhere."""
    section = loaded()
    assert section.value == Server()
    assert section.origins == {}


def test_the_file_replaces_the_default(file):
    """Values of the file are taken, with the line they stand on."""
    section = loaded(file)
    assert section.value == Server(name="file", listen=["a"], pool=Pool(1))
    assert section.origins == {
        "name": Origin("file", 2),
        "listen": Origin("file", 3),
        "pool.size": Origin("file", 6),
    }


def test_the_environment_replaces_the_file_and_the_command_line_both(file):
    """Default, file, environment, command line: the last that says something is taken."""
    env = {"HEARTWOOD__SERVER__NAME": "env", "HEARTWOOD__SERVER__POOL__SIZE": "2"}
    section = loaded(file, env, ("server.pool.size=3", "server.pool.size=4"))
    assert section.value == Server(name="env", listen=["a"], pool=Pool(4))
    assert section.origins["name"] == Origin("env HEARTWOOD__SERVER__NAME", 2)
    assert section.origins["pool.size"] == Origin("--set", 6)


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("3", "name", "3"),
        ("true", "name", "true"),
        ('"quoted"', "name", "quoted"),
        ("", "name", "hub"),
        ("3", "timeout", 3.0),
        ("2.5", "timeout", 2.5),
        ("true", "debug", True),
        ("7", "limit", 7),
        ('["a", "b"]', "listen", ["a", "b"]),
        ("a, b", "listen", ["a", "b"]),
        ("127.0.0.1:8000", "listen", ["127.0.0.1:8000"]),
        ("{ size = 4 }", "pool", Pool(4)),
        ("{ a = 1 }", "weights", {"a": 1}),
        ("hunter2", "key", Secret("hunter2")),
        ('"quoted"', "key", Secret('"quoted"')),
    ],
)
def test_text_is_read_as_the_type_of_its_field(text, field, value):
    """Text from the environment is a TOML value where the field is none of text, and itself where it is."""
    section = loaded(env={f"HEARTWOOD__SERVER__{field.upper()}": text})
    assert getattr(section.value, field) == value


def test_a_key_inside_of_a_table_can_be_set():
    """A variable reaches into tables whose keys are free."""
    section = loaded(env={"HEARTWOOD__SERVER__WEIGHTS__A": "2"}, sets=("server.weights.b=3",))
    assert section.value.weights == {"a": 2, "b": 3}


def test_where_a_secret_is_looked_for(tmp_path):
    """The kernel's name, its file, its credential, then the same for the further names: the first one is taken."""
    folder = tmp_path / "credentials"
    folder.mkdir()
    layers = [
        ("HEARTWOOD__SERVER__KEY", "one"),
        ("HEARTWOOD__SERVER__KEY_FILE", str(tmp_path / "two")),
        ("heartwood__server__key", "three"),
        ("SERVER_KEY", "four"),
        ("SERVER_KEY_FILE", str(tmp_path / "five")),
        ("server_key", "six"),
    ]
    (tmp_path / "two").write_text("two\n")
    (tmp_path / "five").write_text("five\r\n")
    expected = ["one", "two", "three", "four", "five", "six"]
    for start, text in enumerate(expected):
        env = {"CREDENTIALS_DIRECTORY": str(folder)} | {k: v for k, v in layers[start:] if k.isupper()}
        for name, content in layers:
            (folder / name).unlink(missing_ok=True)
            if name.islower() and (name, content) in layers[start:]:
                (folder / name).write_text(content)
        assert loaded(env=env).value.key == Secret(text)


def test_references_are_followed(file, tmp_path):
    """A secret in the file is found in the variable or the file that it names, relative to the file."""
    (tmp_path / "secret").write_text("from a file\n")
    file.write_text('[server]\nkey = { file = "secret" }\n')
    assert loaded(file).value.key == Secret("from a file")
    file.write_text('[server]\nkey = { env = "ELSEWHERE" }\n')
    assert loaded(file, {"ELSEWHERE": "from a variable"}).value.key == Secret("from a variable")


def test_plugins_are_named_by_every_layer(file):
    """A plugin counts as configured where the file, a variable or the command line names it."""
    env = {"HEARTWOOD__PLUGINS__AI__ENABLED": "false", "HEARTWOOD__PLUGINS__OCR__START_TIMEOUT": "7"}
    layers = read_layers(file, env, ("plugins.metrics.config.port=1",))
    assert layers.findings == []
    assert layers.plugin_switches() == {
        "ocr": PluginSwitch(required=True, start_timeout=7.0),
        "ai": PluginSwitch(enabled=False),
        "metrics": PluginSwitch(),
    }


def test_a_plugin_gets_its_own_settings(file):
    """``config`` of a plugin is read with the plugin's class, and its secret is resolved."""
    layers = read_layers(file, {"OCR_KEY": "hunter2", "HEARTWOOD__PLUGINS__OCR__CONFIG__LANGUAGE": "eng"}, ())
    section = layers.plugin("ocr", Ocr)
    assert section.findings == []
    assert section.value == Ocr(language="eng", api_key=Secret("hunter2"))


def test_variables_of_others_are_left_alone():
    """Variables that only look alike are nobody's problem."""
    layers = read_layers(None, {"HEARTWOOD_CONFIG": "x", "HEARTWOOD__": "x", "heartwood__server__name": "x"}, ())
    assert layers.unknown(["server"]) == []
    assert layers.section("server", Server).value == Server()


def test_one_report_holds_everything(file):
    """Problems of all sections come in one report, and an error carries all of them."""
    file.write_text("[server]\nnmae = 'x'\n[servr]\n[plugins.ocr]\nenabled = 1\n")
    report = read_all(read_layers(file, {}, ()), {"server": Server})
    assert [finding.where for finding in report.findings] == ["plugins.ocr.enabled", "servr", "server.nmae"]
    error = ConfigError(report.findings)
    assert len(str(error).splitlines()) == 3
    assert error.findings == tuple(report.findings)


def test_what_is_shown_is_toml_with_origins_and_without_secrets(file):
    """Every setting is shown with where it comes from, and a secret as three stars."""
    section = loaded(file, {"SERVER_KEY": "hunter2"}, ("server.debug=true",))
    assert list(shown("server", section)) == [
        "[server]",
        'name = "file"  # line 2',
        'listen = ["a"]  # line 3',
        "pool.size = 1  # line 6",
        'key = "***"  # env SERVER_KEY',
        "# limit is not set",
        "weights = {}  # default",
        "timeout = 5.0  # default",
        "debug = true  # --set",
    ]


def test_nothing_prints_a_secret(file):
    """Neither the layers nor what is loaded from them show a secret when they are printed."""
    layers = read_layers(file, {"SERVER_KEY": "hunter2", "OCR_KEY": "hunter2"}, ("server.name=hunter2",))
    parts = (layers, layers.section("server", Server).value.key, layers.plugin("ocr", Ocr))
    assert "hunter2" not in repr(parts)


def test_a_relative_file_without_a_folder_is_read(file, monkeypatch):
    """The file may be named relative to the working folder."""
    monkeypatch.chdir(file.parent)
    assert loaded(Path("plugins.toml")).value.name == "file"


def test_a_finding_carries_the_value_of_a_simple_setting_only(file):
    """``value`` is there for programs; what may be a secret, or hold one, is left out."""
    file.write_text("[server]\nlimit = 'x'\nkey = 'hunter2'\nunknown = 'hunter2'\n[server.weights]\nkey = 'hunter2'\n")
    findings = read_layers(file, {}, ()).section("server", Server).findings
    assert {finding.where: finding.value for finding in findings} == {
        "server.limit": "x",
        "server.key": None,
        "server.unknown": None,
        "server.weights.key": None,
    }
