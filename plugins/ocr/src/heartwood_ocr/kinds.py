"""What kinds of content are read, told by their first bytes and by nothing else."""

from __future__ import annotations

from attrs import frozen

HEAD = 1024
"""Bytes in which a signature must be found: PDF readers accept some bytes before ``%PDF-``."""


@frozen
class Kind:
    """A kind of content: its media type, the name it has in metrics, and the endings of its files' names."""

    media_type: str
    label: str
    endings: tuple[str, ...]

    def named(self, name: str) -> str:
        """Return ``name`` with an ending that agrees with the content, whatever the sender called it."""
        return name if name.lower().endswith(self.endings) else name + self.endings[0]


PDF = Kind("application/pdf", "pdf", (".pdf",))
JPEG = Kind("image/jpeg", "jpeg", (".jpg", ".jpeg"))
PNG = Kind("image/png", "png", (".png",))
TIFF = Kind("image/tiff", "tiff", (".tif", ".tiff"))

_STARTS = (
    (b"\xff\xd8\xff", JPEG),
    (b"\x89PNG\r\n\x1a\n", PNG),
    (b"II*\x00", TIFF),
    (b"MM\x00*", TIFF),
)
_BY_TYPE = {kind.media_type: kind for kind in (PDF, JPEG, PNG, TIFF)}


def kind_of(head: bytes) -> Kind | None:
    """Return the kind of content that starts with ``head``, or None where it is not one that is read."""
    for signature, kind in _STARTS:
        if head.startswith(signature):
            return kind
    return PDF if b"%PDF-" in head[:HEAD] else None


def kind_named(media_type: str) -> Kind:
    """Return the kind whose media type was stored."""
    return _BY_TYPE[media_type]
