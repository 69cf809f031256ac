"""Permissions and the roles that hold them by default."""

from __future__ import annotations

from enum import StrEnum

from attrs import frozen

PUBLIC = "core.public"
"""The permission of a route that anybody may call without a credential. Only the kernel may use it."""


class Role(StrEnum):
    """What a person is to the hub; the owner holds every permission."""

    OWNER = "owner"
    MEMBER = "member"
    READER = "reader"


@frozen
class Permission:
    """Something one may be allowed to do.

    Args:
        name: ``prefix.action``, for example ``documents.read``; the part before the dot is the plugin's name or
            one of its prefixes.
        description: one sentence that says what a person who holds it can do.
        roles: the roles that hold it without being granted it; the owner always does.
    """

    name: str
    description: str
    roles: frozenset[Role] = frozenset()
