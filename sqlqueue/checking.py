"""`verify` and `verify --repair`, as a person sees them.

Promises: looking changes nothing; repairing goes through the manager if one runs.  What
is not here: what is compared (`store/audit.py`) and rebuilt (`store/recovery.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Union

from sqlqueue import protocol
from sqlqueue.contact import ask_running, owner
from sqlqueue.figures import cut_end, plural
from sqlqueue.filesystems import on_network
from sqlqueue.home import Home
from sqlqueue.protocol import Repair, RepairedReply
from sqlqueue.shell import notice
from sqlqueue.visible import printable

if TYPE_CHECKING:
    from sqlqueue.store.audit import Finding

Found = Union["Finding", protocol.Finding]
LONGEST: Final = 400
"""Characters of one finding: a row may be long."""


def verify(home: Home) -> int:
    """Prints every finding; returns how many there are."""
    count = 0
    for finding in _findings(home):
        count += 1
        print(_line(finding), flush=True)
    print(_verdict(count), flush=True)
    return count


def _findings(home: Home) -> Iterable[Found]:
    """From the database, or from the manager where it has that to itself."""
    home.queue_id()
    if on_network(home.path) and (answer := _asked(home)) is not None:
        return answer
    from sqlqueue.store.audit import verify as findings

    return findings(home)


def _asked(home: Home) -> list[protocol.Finding] | None:
    """What the manager finds; None when none answers."""
    reply = ask_running(home, protocol.Audit())
    if not isinstance(reply, protocol.AuditedReply):
        return None
    if reply.more:
        notice(f"there are more than these {len(reply.findings)} findings")
    return reply.findings


def _line(found: Found) -> str:
    return cut_end(printable(f"{found.severity}: {found.where}: {found.message}"), LONGEST)


def _verdict(count: int) -> str:
    if not count:
        return "Clean: the database and every CSV agree"
    return f"{plural(count, 'finding')}; `sqlqueue verify --repair` rebuilds what does not agree"


def repair(home: Home) -> None:
    """Brings every CSV back to what the database says, and prints what was done.

    With no manager, opening the queue alone repairs what was found before.
    """
    found = list(dict.fromkeys(each.where for each in _findings(home)))
    with owner(home, notice) as ask:
        reply = ask(Repair())
    actions = reply.actions if isinstance(reply, RepairedReply) else []
    left = {each.where for each in _findings(home)} if found and not actions else set()
    for line in actions or [each for each in found if each not in left]:
        print(f"repaired: {printable(line)}", flush=True)
    if not actions and not found:
        print("Nothing to repair", flush=True)
