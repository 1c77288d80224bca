"""Who may wait inside before saying hello: a bounded number of places, shared out among hosts.

Promises: no host takes more than its share, and hosts that hold few places take them from the
one that holds most; a stranger is displaced only by another one, the longest silent first, and
only after a while by one whose host holds as much; who leaves without a hello leaves an empty
place for the rest of that while, so that handshakes cost the manager only so much a second.
Nobody waits in the backlog for the places of silent ones.  Pure: the clock is an argument.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

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
        if not self._make_room(host, now):
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

    def _make_room(self, host: str, now: float) -> bool:
        """Whether there is a place, one that somebody else must give up perhaps."""
        held = Counter(each.host for each in self._places)
        most = max(held, key=lambda each: held[each], default=host)
        if held[host] >= self._limits.strangers_of_one_host:
            return self._displace({host}, now)
        if len(self._places) < self._limits.strangers:
            return True
        if held[most] > held[host] + 1:
            return self._displace({most}, inf)
        return self._displace({host} if held[host] else set(held), now)

    def _displace(self, hosts: set[str], now: float) -> bool:
        """Takes the place that one of them has had longest, if it has had it long enough."""
        oldest = next((each for each in self._places if each.host in hosts), None)
        if oldest is None or now - oldest.since < self._limits.stranger_seconds:
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
