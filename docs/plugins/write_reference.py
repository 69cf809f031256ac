"""Write the page of each hook, and the list of ``heartwood.api``, from the code.

With ``--check`` nothing is written, and the status is 1 where a page is not current.
"""  # noqa: INP001  (a script beside the pages that it writes)

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import heartwood.api
import heartwood.contracts.analytics
from heartwood.plugins import spec
from heartwood_metrics.hookspecs import AnalyticsSpecs

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parent
EXAMPLES = FOLDER.parent.parent / "tests" / "api" / "garden.py"
WRITTEN = "<!-- Written by docs/plugins/write_reference.py from the code; change the code. -->"


def pages() -> dict[str, str]:
    """Return the text of every page by its path in this folder."""
    found = {"api.md": _api_page()}
    for owner, specs in (("the kernel", spec.KERNEL_SPECS), ("the plugin `metrics`", (AnalyticsSpecs,))):
        for cls in specs:
            for name, hook in vars(cls).items():
                if hasattr(hook, "heartwood_spec"):
                    found[f"hooks/{name}.md"] = _hook_page(name, hook, owner)
    return found


def _hook_page(name: str, hook: Any, owner: str) -> str:
    signature = str(inspect.signature(hook)).replace("'", "")
    returns = signature.partition("->")[2]
    parts = [f"# `{name}`", WRITTEN, f"```python\ndef {name}{signature}\n```", _markdown(inspect.getdoc(hook) or "")]
    parts += ["## What it returns" if _values(returns) else "", *map(_value, _values(returns))]
    parts += ["## Example", f"```python\n{_example(name)}\n```"]
    parts += ["## Common to all hooks", _common()] if owner == "the kernel" else [f"Specified by {owner}."]
    return "\n\n".join(filter(None, parts)) + "\n"


def _common() -> str:
    """Return what the specifications say of all hooks: their module's docstring without its first paragraph."""
    text = (inspect.getdoc(spec) or "").partition("\n\n")[2].removeprefix("Common to all: ")
    return _markdown(text[:1].upper() + text[1:])


def _values(annotation: str) -> list[type]:
    """Return the classes of the public face that a return annotation names."""
    names = re.findall(r"\w+", annotation)
    known = {**vars(heartwood.api), **vars(heartwood.contracts.analytics)}
    return [known[name] for name in names if name in known and isinstance(known[name], type)]


def _value(cls: type) -> str:
    fields = [each for each in inspect.signature(cls).parameters.values() if each.name != "self"]
    call = ", ".join(
        each.name if each.default is each.empty else f"{each.name}={_default(each.default)}" for each in fields
    )
    return f"`{cls.__name__}({call})`\n\n{_markdown(inspect.getdoc(cls) or '')}"


def _default(value: Any) -> str:
    return "…" if "NOTHING" in repr(value) or " at 0x" in repr(value) else _plain(value)


def _plain(value: Any) -> str:
    """Return a value as text that is the same in every process: sets are sorted, enums say their names."""
    if isinstance(value, frozenset):
        return f"{{{', '.join(sorted(map(repr, value)))}}}" if value else "frozenset()"
    return str(value) if type(value).__module__.startswith("heartwood") else repr(value)


def _example(name: str) -> str:
    text = EXAMPLES.read_text(encoding="utf-8")
    method = next(
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef) and _implements(node, name)
    )
    first = min(each.lineno for each in method.decorator_list)
    lines = text.splitlines()[first - 1 : method.end_lineno]
    return inspect.cleandoc("\n" + "\n".join(lines))


def _implements(node: ast.FunctionDef, name: str) -> bool:
    return node.name == name and any("hookimpl" in ast.unparse(each) for each in node.decorator_list)


def _api_page() -> str:
    about = _markdown(inspect.getdoc(heartwood.api) or "")
    lines = []
    for name in heartwood.api.__all__:
        value = getattr(heartwood.api, name)
        described = isinstance(value, type) or inspect.isfunction(value)
        sentence = (inspect.getdoc(value) or "").partition("\n\n")[0] if described else _OTHERS[name]
        home = getattr(value, "__module__", "") if described else ""
        lines.append(f"| `{name}` | {' '.join(_markdown(sentence).split())} | {f'`{home}`' if home else ''} |")
    table = "\n".join(["| name | what it is | defined in |", "|---|---|---|", *lines])
    return f"# `heartwood.api`\n\n{WRITTEN}\n\n{about}\n\n{table}\n"


_OTHERS = {
    "HUB": "The actor of what the hub does by itself: schedules, start-up.",
    "hookimpl": "Marks a method of a plugin as the implementation of the hook of its name.",
    "hookspec": "Marks a method as the specification of a new hook.",
}
"""What cannot carry a docstring."""


def _markdown(text: str) -> str:
    """Return a docstring's text as Markdown: code in single backticks, headed lists as lists."""
    text = re.sub(r":\w+:`~[\w.]+\.(\w+)`", r"`\1`", text)
    text = re.sub(r":\w+:`([\w.]+)`", r"`\1`", text).replace("``", "`")
    return "\n".join(_listed(text.splitlines()))


def _listed(lines: list[str]) -> Iterator[str]:
    """Turn ``Args:`` and ``Raises:`` with their indented entries into lists."""
    inside = False
    for line in lines:
        entry = re.match(r" {4}([\w, ]+): (.*)", line) if inside else None
        if line in ("Args:", "Raises:", "Returns:"):
            inside = True
            yield f"{line}\n"
        elif entry:
            yield f"- `{entry[1]}`: {entry[2]}"
        elif inside and line.startswith(" " * 8):
            yield f"  {line.strip()}"
        else:
            inside = inside and not line.strip()
            yield line


def main(arguments: list[str]) -> int:
    """Write, or check with ``--check``; returns the exit status."""
    stale = []
    for name, text in pages().items():
        file = FOLDER / name
        if file.is_file() and file.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
    if stale and "--check" in arguments:
        sys.stderr.write(f"not current: {', '.join(stale)}; type: python docs/plugins/write_reference.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
