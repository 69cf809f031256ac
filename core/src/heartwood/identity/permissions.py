"""Which permissions a role holds, and how a token's scopes narrow them. No answer means no."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heartwood.contracts.errors import Fault, Invalid
from heartwood.contracts.people import EVERYTHING
from heartwood.contracts.permissions import Permission, Role

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class PermissionCatalog:
    """Every permission that the kernel and the plugins declare. The owner holds all, also those not declared."""

    def __init__(self, permissions: Iterable[Permission]) -> None:
        self._declared = {each.name: each for each in permissions}
        self._roles = {
            role: frozenset(name for name, each in self._declared.items() if role in each.roles) for role in Role
        }
        self._roles[Role.OWNER] = frozenset({EVERYTHING})

    def of(self, role: Role) -> frozenset[str]:
        """Return what ``role`` may."""
        return self._roles[role]

    def narrowed(self, role: Role, scopes: Sequence[str] | None) -> frozenset[str]:
        """Return what somebody of ``role`` may with a token of these ``scopes``; None does not narrow."""
        held = self._roles[role]
        if scopes is None:
            return held
        return frozenset(scopes) - {EVERYTHING} if EVERYTHING in held else held.intersection(scopes)

    def check_scopes(self, role: Role, scopes: Sequence[str]) -> None:
        """Refuse scopes that nobody declares, or that somebody of ``role`` does not hold.

        Raises:
            Invalid: there are some; each is named.
        """
        held = self._roles[role]
        faults = []
        for scope in scopes:
            if scope not in self._declared:
                faults.append(Fault("scopes", f"there is no permission {scope!r}; there are: {self._listed()}"))
            elif scope not in held and EVERYTHING not in held:
                faults.append(Fault("scopes", f"the role {role} does not hold {scope!r}"))
        if faults:
            msg = f"The token cannot have these scopes: {'; '.join(fault.message for fault in faults)}"
            raise Invalid(msg, faults=faults)

    def _listed(self) -> str:
        return ", ".join(sorted(self._declared)) or "none"
