"""What is wrong with the configuration, one value a problem, and the error that carries all of them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from attrs import frozen

from heartwood.contracts.errors import HeartwoodError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

FILE = "file"
DEFAULT = "default"


@frozen
class Finding:
    """One thing that is wrong.

    Args:
        source: where the value comes from: ``file``, ``default``, ``env NAME``, ``--set``.
        where: the dotted key (``plugins.ocr.config.retry.max_tries``), or ``""`` for the file itself.
        value: the value as given; None where it may be a secret.
        message: what is wrong, in words; never contains a secret.
        line: the line of ``file`` on which the key, or the nearest table around it, stands.
        file: the file as the operator named it.
        hint: the name that was probably meant.
    """

    source: str
    where: str
    value: Any
    message: str
    line: int | None = None
    file: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        """Return the sentence that the operator reads."""
        place = f"{self.file}:{self.line}" if self.line else self.file or ""
        text = ": ".join(filter(None, (f"{place} {self.where}".strip(), self.message)))
        text += f"; did you mean {self.hint!r}?" if self.hint else ""
        return text if self.source in (FILE, DEFAULT) else f"{text} (from {self.source})"


class ConfigError(HeartwoodError):
    """The configuration cannot be used; ``findings`` holds every problem, not only the first."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        super().__init__("\n".join(map(str, findings)))
        self.findings = tuple(findings)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the one of ``known`` that was probably meant by ``word``, or None."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), None)
