"""Which addresses the hub calls: public ones, and those that the configuration lists.

Source of the rule: the address check of OWASP's SSRF prevention, with ``not is_global`` instead of a list of
private networks (100.64.0.0/10 and others are missing from the usual lists), after unwrapping IPv6 transition forms.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from heartwood.contracts.http import OutboundRefused

if TYPE_CHECKING:
    from collections.abc import Iterable

NAT64 = IPv6Network("64:ff9b::/96")
COMPATIBLE = IPv6Network("::/96")
SPECIAL = (ip_network("192.0.0.0/24"), ip_network("64:ff9b:1::/48"), ip_network("fec0::/10"))
"""Protocol assignments, local NAT64 and site-local: not global, though some versions of Python say so."""


def unwrap(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the IPv4 address that a mapped, 6to4, Teredo or NAT64 address stands for, else ``address``."""
    if isinstance(address, IPv4Address):
        return address
    embedded = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
    if embedded is not None:
        return embedded
    if address in NAT64 or address in COMPATIBLE:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def is_public(text: str) -> bool:
    """Whether ``text``, an IP address, belongs to a host on the public Internet."""
    inner = unwrap(ip_address(text))
    if any(inner.version == network.version and inner in network for network in SPECIAL):
        return False
    return inner.is_global and not inner.is_multicast and not inner.is_reserved


class Guard(AbstractResolver):
    """Resolves names for the outbound client and gives out only addresses that may be called.

    The connection is made to the very address that was checked, so a name that changes its mind gains nothing.

    Args:
        allowed: ``host`` or ``host:port`` entries that may be anywhere.
        resolver: what asks for the addresses; the system's by default.
    """

    def __init__(self, allowed: Iterable[str], resolver: AbstractResolver | None = None) -> None:
        self._allowed = frozenset(entry.lower() for entry in allowed)
        self._resolver = resolver or ThreadedResolver()

    def allows(self, host: str, port: int) -> bool:
        """Whether the configuration lists this host, with this port or with any."""
        name = host.lower().rstrip(".")
        listed = {name, f"{name}:{port}", f"[{name}]:{port}", f"[{name}]"}
        return not self._allowed.isdisjoint(listed)

    def check(self, host: str, port: int, address: str) -> None:
        """Raise ``OutboundRefused`` unless ``address``, which is ``host``'s, may be called."""
        if not self.allows(host, port) and not is_public(address):
            at = host if host == address else f"{host} ({address})"
            msg = f"{at} is not a public address; list {host}:{port} in web.outbound_allow if it is meant"
            raise OutboundRefused(msg)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of ``host``; one that may not be called refuses them all."""
        results = await self._resolver.resolve(host, port, family)
        for result in results:
            self.check(host, port, result["host"])
        return results

    async def close(self) -> None:
        """Close the resolver below."""
        await self._resolver.close()
