"""`verify` and `verify --repair`, as a person sees them.

Promises: looking changes nothing; repairing goes through the manager if one runs.  What
is not here: what is compared (`store/audit.py`) and rebuilt (`store/recovery.py`).
"""

from __future__ import annotations

from sqlqueue.contact import owner
from sqlqueue.figures import plural, printable
from sqlqueue.home import Home
from sqlqueue.protocol import Repair, RepairedReply
from sqlqueue.shell import notice


def verify(home: Home) -> int:
    """Prints every finding; returns how many there are."""
    home.queue_id()
    from sqlqueue.store.audit import verify as findings

    count = 0
    for found in findings(home):
        count += 1
        print(printable(f"{found.severity}: {found.where}: {found.message}"), flush=True)
    print(_verdict(count), flush=True)
    return count


def _verdict(count: int) -> str:
    if not count:
        return "Clean: the database and every CSV agree"
    return f"{plural(count, 'finding')}; `sqlqueue verify --repair` rebuilds what does not agree"


def repair(home: Home) -> None:
    """Brings every CSV back to what the database says, and prints what was done."""
    home.queue_id()
    with owner(home, notice) as ask:
        reply = ask(Repair())
    actions = reply.actions if isinstance(reply, RepairedReply) else []
    for action in actions:
        print(f"repaired: {printable(action)}", flush=True)
    if not actions:
        print("Nothing to repair", flush=True)
