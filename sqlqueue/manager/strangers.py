"""Who may wait inside before saying hello: a bounded number of places, shared out among hosts.

Promises: no host takes more than its share, and hosts that hold few places take them from the
one that holds most; a stranger is displaced only by another one, the longest silent first, and
within its own host only after a while; who leaves without a hello leaves an empty place for
the rest of that while, so that handshakes cost the manager only so much a second.  Nobody
waits in the backlog for the places of silent ones.  Pure: the clock is an argument.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from sqlqueue.manager.limits import Limits


@dataclass(eq=False, slots=True)
class Stranger:
    """One place, taken since then; `leave` ends whoever has it, None once it is empty."""

    host: str
    since: float
    leave: Callable[[], None] | None = None


class Strangers:
    """All places, the longest taken first."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._places: list[Stranger] = []

    def __len__(self) -> int:
        """Those who are inside."""
        return sum(each.leave is not None for each in self._places)

    def enter(self, address: str, leave: Callable[[], None], now: float) -> Stranger | None:
        """A place, perhaps one that was another's until now; None when there is none."""
        host = host_of(address)
        self._clear(now)
        if (full := self._full_for(host)) is not None and not self._displace(host, full, now):
            return None
        place = Stranger(host, now, leave)
        self._places.append(place)
        return place

    def known(self, place: Stranger) -> None:
        """It has said hello: the place is free."""
        if place in self._places:
            self._places.remove(place)

    def gone(self, place: Stranger) -> None:
        """It left without: the place stays empty for a while."""
        place.leave = None

    def _clear(self, now: float) -> None:
        """Frees the places that were empty long enough."""
        latest = now - self._limits.stranger_seconds
        self._places = [e for e in self._places if e.leave is not None or e.since > latest]

    def _full_for(self, host: str) -> str | None:
        """Whose places are to give way to a newcomer; None when there is room."""
        held = Counter(each.host for each in self._places)
        if held[host] >= self._limits.strangers_of_one_host:
            return host
        if len(self._places) < self._limits.strangers:
            return None
        most = max(held, key=lambda each: held[each])
        return most if held[most] > held[host] + 1 else host

    def _displace(self, host: str, full: str, now: float) -> bool:
        oldest = next((each for each in self._places if each.host == full), None)
        if oldest is None:
            return False
        if full == host and now - oldest.since < self._limits.stranger_seconds:
            return False
        self._places.remove(oldest)
        if oldest.leave is not None:
            oldest.leave()
        return True


def host_of(address: str) -> str:
    """The address, or the network that one host of IPv6 has to itself."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))
