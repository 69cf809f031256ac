"""Reading a TOML file with a sentence for everything that can be wrong, and finding the line of a key."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING, Any

from heartwood.config.findings import FILE, Finding

if TYPE_CHECKING:
    from pathlib import Path

Key = tuple[str, ...]

# A TOML text in pieces: strings (which may hold brackets, hashes and newlines), comments, brackets, newlines, the rest.
_PIECES = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*|[\[\]{}]|\n|[^"\'#\[\]{}\n]+|.',
    re.DOTALL,
)
_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_ARRAY_TABLE = "[["


def read_toml(file: Path) -> tuple[dict[str, Any], str, list[Finding]]:
    """Return the tree, the text and what is wrong with ``file``; the tree is empty where it cannot be read."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        return {}, "", [_about(file, f"cannot be read: {error.strerror}")]
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        return {}, "", [_about(file, f"is not UTF-8: byte 0x{error.object[error.start]:02x}", line)]
    try:
        return tomllib.loads(text), text, []
    except tomllib.TOMLDecodeError as error:
        position = _POSITION.search(str(error))
        line = int(position[1]) if position and position[1] else text.count("\n") + 1
        column = f" in column {position[2]}" if position and position[2] else ""
        return {}, text, [_about(file, f"is not TOML: {_POSITION.sub('', str(error))}{column}", line)]
    except RecursionError:
        return {}, text, [_about(file, "is not TOML that can be read: nested too deeply")]


def _about(file: Path, message: str, line: int | None = None) -> Finding:
    return Finding(source=FILE, where="", value=None, message=message, line=line, file=str(file))


def toml_value(text: str) -> Any:
    """Return what ``text`` means as a TOML value, or ``text`` itself where it is none."""
    try:
        tree = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return tree["value"] if len(tree) == 1 else text


def key_lines(text: str) -> dict[Key, int]:
    """Return the line on which each key and each table of a valid TOML text is written.

    The parser of the standard library keeps no positions, so this cuts the text into statements and asks the parser
    for their keys. Keys inside of inline tables are left out: look for the nearest key around them.
    """
    lines: dict[Key, int] = {}
    table: Key = ()
    counts: dict[Key, int] = {}
    for line, statement in _statements(text):
        if statement.startswith("["):
            table = _key(statement.strip("[] \t"))
            if statement.startswith(_ARRAY_TABLE):
                counts[table] = counts.get(table, -1) + 1
                table = (*table, str(counts[table]))
            _note(lines, table, line)
        else:
            _note(lines, (*table, *_key(statement.split("=")[0])), line)
    return lines


def _note(lines: dict[Key, int], key: Key, line: int) -> None:
    """Note the line of ``key``, and of the tables around it that exist only through it."""
    for length in range(1, len(key) + 1):
        lines.setdefault(key[:length], line)


def _statements(text: str) -> list[tuple[int, str]]:
    """Return each statement with the line it starts on; one goes to the end of its line, outside of brackets."""
    found: list[tuple[int, str]] = []
    line, start, depth, current = 1, 1, 0, ""
    for piece in [*_PIECES.findall(text), "\n"]:
        if piece == "\n" and depth <= 0:
            if current.strip():
                found.append((start, current.strip()))
            current, depth, start = "", 0, line + 1
        elif not piece.startswith("#"):
            current += piece
            depth += (piece in "[{") - (piece in "]}")
        line += piece.count("\n")
    return found


def _key(text: str) -> Key:
    path: list[str] = []
    try:
        tree: Any = tomllib.loads(f"{text} = 0")
    except (
        tomllib.TOMLDecodeError
    ):  # a quoted key with an equals sign or a bracket in it: no line is better than a crash
        return (text,)
    while isinstance(tree, dict):
        [(part, tree)] = tree.items()
        path.append(part)
    return tuple(path)
