"""svcs, imported without its integrations into web frameworks.

svcs imports every framework that it finds installed, which takes 0.7 s and 60 MB where all of them are, and none is
used here. They can still be imported by whoever wants them.
"""

from __future__ import annotations

import sys
from importlib import import_module


def _import_lean() -> None:
    if "svcs" in sys.modules:
        return
    unwanted = [f"svcs.{name}" for name in ("aiohttp", "fastapi", "flask", "starlette")]
    sys.modules.update(dict.fromkeys(unwanted))  # type: ignore[arg-type]  # None is Python's way to say "cannot be imported"
    try:
        import_module("svcs")
    finally:
        for name in unwanted:
            del sys.modules[name]


_import_lean()

from svcs import Container, Registry  # noqa: E402  (after the lines above, which are the point)

__all__ = ["Container", "Registry"]
