"""The messages of one batch in groups that can be handled together.

Those of one kind that nearly all messages are of come together, past messages of other askers:
who asked at the same time has no claim to have been first.  Promises: each asker's messages keep
their order, but for those of one kind, which may be handled together; whatever changes more than
its own task stands alone, between all that came before it and all that came after.
Pure.  What is not here: handling them.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final, Protocol, TypeVar

from sqlqueue.protocol import Heartbeat, Request, RequestTask, SubmitResult

PASSING: Final = (SubmitResult, RequestTask, Heartbeat)
"""What may be handled before other askers' messages that came earlier."""


class Asked(Protocol):
    """A request, and who asks."""

    @property
    def request(self) -> Request: ...

    @property
    def asker(self) -> Hashable: ...


Each = TypeVar("Each", bound=Asked)


def gathered(batch: Sequence[Each]) -> list[list[Each]]:
    """The groups in the order in which they are to be handled; each is of one kind."""
    groups: list[list[Each]] = []
    latest: dict[type, int] = {}
    floor: dict[Hashable, int] = {}
    barrier = 0
    for each in batch:
        kind = type(each.request)
        at = latest.get(kind, -1) if kind in PASSING else -1
        if at < max(barrier, floor.get(each.asker, 0)):
            at = len(groups)
            groups.append([])
        groups[at].append(each)
        if kind in PASSING:
            latest[kind] = floor[each.asker] = at
        else:
            barrier = at + 1
    return groups
