"""Settings of the documents, ``[plugins.ocr.config]``."""

from __future__ import annotations

from attrs import frozen, validators

from heartwood.api import setting

MEBIBYTE = 1024**2


@frozen
class OcrConfig:
    """What may be sent in, and how it is read."""

    max_size: int = setting(
        64 * MEBIBYTE,
        help="Bytes of the largest file that is taken in.",
        validator=validators.and_(validators.ge(1), validators.le(512 * MEBIBYTE)),
    )
    max_files: int = setting(16, help="Files in one upload.", validator=validators.ge(1))
    max_pages: int = setting(
        500, help="Pages of one document that are read; the original is kept whole.", validator=validators.ge(1)
    )
    languages: list[str] = setting(
        factory=lambda: ["eng", "deu"],
        help="Languages of the text, as Tesseract calls them; each one costs about a quarter more time.",
        validator=validators.deep_iterable(validators.matches_re(r"[A-Za-z0-9_]+"), validators.min_len(1)),
    )
    review_below: float = setting(
        0.6,
        help="Mean confidence (0 to 1) of a page below which a person is asked to look.",
        validator=validators.and_(validators.ge(0), validators.le(1)),
    )
