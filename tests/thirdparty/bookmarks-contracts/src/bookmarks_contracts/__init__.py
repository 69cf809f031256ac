"""What other plugins may know of bookmarks. They depend on this package, never on the plugin itself."""

from __future__ import annotations

from typing import ClassVar, Protocol

from attrs import frozen

from heartwood.api import Actor


@frozen
class Link:
    """A kept link; ``labels`` is empty until its job has run."""

    id: int
    url: str
    title: str
    labels: list[str]


@frozen
class Label:
    """What the hook ``link_labels`` returns: links with ``word`` in their title get the label ``name``."""

    word: str
    name: str


class Links(Protocol):
    """The service."""

    async def newest(self, actor: Actor, *, limit: int) -> list[Link]:
        """Return the actor's links, newest first."""
        ...


@frozen
class LinkSaved:
    """A link has been kept and labelled."""

    event_name: ClassVar[str] = "bookmarks.saved"
    link: int
    labels: list[str]
