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
from sqlqueue.report import document
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


def verify_json(home: Home, repaired: list[str] | None) -> int:
    """The same for programs, as docs/COMMANDS.md describes it, with what `repair` did before."""
    found = [
        {"severity": each.severity, "where": each.where, "message": each.message}
        for each in _findings(home)
    ]
    told = {"clean": not found, "findings": found, "repaired": repaired}
    print(document(told), flush=True)
    return len(found)


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


def repair(home: Home) -> list[str]:
    """Brings every CSV back to what the database says; what was repaired, a line each.

    With no manager, opening the queue alone repairs what was found before.
    """
    found = list(dict.fromkeys(each.where for each in _findings(home)))
    with owner(home, notice) as ask:
        reply = ask(Repair())
    if isinstance(reply, RepairedReply) and reply.actions:
        return reply.actions
    left = {each.where for each in _findings(home)} if found else set()
    return [each for each in found if each not in left]


def repaired_lines(actions: list[str]) -> list[str]:
    """What was repaired, as text."""
    return [f"repaired: {printable(each)}" for each in actions] or ["Nothing was repaired"]
