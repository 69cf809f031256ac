"""The line of a key is found, however the file is written."""

from __future__ import annotations

import pytest

from heartwood.config.toml import key_lines, toml_value

EVERYTHING = '''\
# comment = 1

top = 1
[data]  # [not.this]
pool_size = 10  # a comment with "quotes' and [brackets
text = """
[plugins.not]
this = 1
"""
literal = \'\'\'
# [nor.this]
\'\'\'
quoted = "a # no comment ] \\" ="
"dotted.key" = 1
a.b . c = 2
listen = [
  "one",  # ] here
  "two",
]
inline = { x = 1, y = [1, 2] }
after = 1

[[servers]]
name = "a"
[[servers]]
name = "b"
  [servers.tls]
  on = true
[plugins."odd name".config]
last = 1'''


def test_lines_of_all_kinds_of_statements():
    """Tables, keys, dotted and quoted keys, long strings and arrays: each is on its first line."""
    assert key_lines(EVERYTHING) == {
        ("top",): 3,
        ("data",): 4,
        ("data", "pool_size"): 5,
        ("data", "text"): 6,
        ("data", "literal"): 10,
        ("data", "quoted"): 13,
        ("data", "dotted.key"): 14,
        ("data", "a"): 15,
        ("data", "a", "b"): 15,
        ("data", "a", "b", "c"): 15,
        ("data", "listen"): 16,
        ("data", "inline"): 20,
        ("data", "after"): 21,
        ("servers",): 23,
        ("servers", "0"): 23,
        ("servers", "0", "name"): 24,
        ("servers", "1"): 25,
        ("servers", "1", "name"): 26,
        ("servers", "tls"): 27,
        ("servers", "tls", "on"): 28,
        ("plugins",): 29,
        ("plugins", "odd name"): 29,
        ("plugins", "odd name", "config"): 29,
        ("plugins", "odd name", "config", "last"): 30,
    }


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("true", True),
        ("1.5", 1.5),
        ('"quoted"', "quoted"),
        ("[1, 2]", [1, 2]),
        ("{a = 1}", {"a": 1}),
        ("plain text", "plain text"),
        ("/var/lib", "/var/lib"),
        ("", ""),
        ("1\nother = 2", "1\nother = 2"),
        ("[" * 5000, "[" * 5000),
    ],
)
def test_text_is_a_toml_value_or_itself(text, value):
    """What TOML does not understand is the text itself, and no text can smuggle in a second key."""
    assert value == toml_value(text)
