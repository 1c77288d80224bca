"""`unlink`: a directory leaves the queue, or the queue goes on with it in another folder.

Asks the manager, or does it itself under the home's lock.  What is not here: what it does
(`manager/unlinking.py`).
"""

from __future__ import annotations

import msgspec

from sqlqueue.contact import expect, owner
from sqlqueue.figures import plural
from sqlqueue.home import Home
from sqlqueue.protocol import Unlink, UnlinkedReply
from sqlqueue.report import document
from sqlqueue.shell import notice
from sqlqueue.steering import agreed
from sqlqueue.visible import printable


def unlink(home: Home, message: Unlink, *, yes: bool) -> UnlinkedReply | None:
    """Does it; None when a person was asked and said no.  `yes`: nobody is asked."""
    home.queue_id()
    with owner(home, notice) as ask:

        def said(request: Unlink) -> UnlinkedReply:
            return expect(ask(request), UnlinkedReply)

        if not message.dry_run and not yes:
            planned = said(msgspec.structs.replace(message, dry_run=True))
            if not agreed(_question(planned)):
                return None
        return said(message)


def _question(planned: UnlinkedReply) -> str:
    folder = printable(planned.output_dir)
    if planned.moved_to is not None:
        return f"move {folder} to {printable(planned.moved_to)} ({plural(planned.tasks, 'task')})"
    return f"take {folder} out of the queue ({_counts(planned)})"


def _counts(found: UnlinkedReply) -> str:
    parts = [plural(found.tasks, "task")]
    if found.cancelled:
        parts.append(f"{found.cancelled} of them cancelled, since no other directory is theirs")
    if found.kept:
        parts.append(f"{plural(found.kept, 'result')} kept in the database alone")
    return "; ".join(parts)


def unlinked_lines(found: UnlinkedReply, dry_run: bool) -> list[str]:
    """What was done, or would be."""
    folder = printable(found.output_dir)
    if found.moved_to is not None:
        verb = "Would be moved" if dry_run else "Moved"
        first = f"{verb}: {folder} to {printable(found.moved_to)} ({plural(found.tasks, 'task')})"
    else:
        verb = "Would leave the queue" if dry_run else "Left the queue"
        first = f"{verb}: {folder} ({_counts(found)}); its files stay as they are"
    lines = [first, *(f"note: {printable(each)}" for each in found.notes)]
    return lines + (["Dry run: nothing was changed"] if dry_run else [])


def unlinked_json(found: UnlinkedReply, dry_run: bool) -> str:
    """The same for programs, as docs/COMMANDS.md describes it."""
    told = {name: getattr(found, name) for name in found.__struct_fields__}
    return document({**told, "dry_run": dry_run})
