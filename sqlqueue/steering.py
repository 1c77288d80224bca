"""The verbs that steer a queue: asked of the manager bite by bite, of which none is large.

Promises: what destroys is counted first and asked about; interrupted, what was done stays done and
the same command does the rest.  What is not here: what a verb does (`manager/steering.py`), how
it is told (`report_steering.py`).
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Final

import msgspec

from sqlqueue.contact import Ask, expect, owner
from sqlqueue.errors import Interrupted, UsageError
from sqlqueue.figures import plural
from sqlqueue.home import Home
from sqlqueue.interrupts import deferred
from sqlqueue.plan.selector import parse
from sqlqueue.protocol import (
    Cancel,
    Drain,
    Pause,
    Rerun,
    Resume,
    Retry,
    SetPriority,
    SteeredReply,
)
from sqlqueue.report_steering import cancelling, rerunning
from sqlqueue.shell import notice

Verb = Retry | Cancel | Rerun | SetPriority | Pause | Resume | Drain
ANSWERS: Final = {"y": True, "yes": True, "n": False, "no": False, "": False}


@dataclass(frozen=True)
class Steered:
    """What was done, or would be, over all bites; `left`: counts by reason."""

    done: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    never: list[str] = field(default_factory=list)
    """Conditions that met no value which they could be compared with."""

    @property
    def matched(self) -> int:
        """How many tasks the selector means."""
        return self.done.total() + self.left.total()

    def add(self, reply: SteeredReply) -> None:
        """Counts one more bite."""
        self.done.update(reply.done)
        self.left.update(reply.left)
        self.phases.update(reply.phases)
        self.notes.extend(each for each in reply.notes if each not in self.notes)


def steer(home: Home, message: Verb, *, yes: bool) -> Steered | None:
    """Does it; None when a person was asked and said no.  `yes`: nobody is asked."""
    meant = parse(message.select, message.all)
    home.queue_id()
    with owner(home, notice) as ask:
        if isinstance(message, Cancel | Rerun) and not message.dry_run and not yes:
            planned = _all(ask, msgspec.structs.replace(message, dry_run=True))
            asking = cancelling if isinstance(message, Cancel) else rerunning
            if planned.done and not agreed(asking(planned.done, planned.phases)):
                return None
        found = _all(ask, message)
    conditions = [each.word for each in meant.parameters]
    return replace(found, never=[each for each in conditions if each in found.never])


def agreed(question: str, hint: str = "(--dry-run shows what it is)") -> bool:
    """Whether a person wants it, having read what it is; raises `UsageError` where nobody is.

    `hint`: what is to be said to a script besides.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"{question}: say --yes, since nobody can be asked here {hint}")
    while True:
        try:
            said = input(f"{question}? [y/N] ").strip().lower()
        except EOFError:
            return False
        if said in ANSWERS:
            return ANSWERS[said]


def _all(ask: Ask, message: Verb) -> Steered:
    """One bite after another, until there is none left."""
    found = Steered()
    met: set[str] = set()
    after: int | None = message.after
    try:
        with deferred() as check:
            while after is not None:
                check()
                reply = expect(ask(msgspec.structs.replace(message, after=after)), SteeredReply)
                found.add(reply)
                met.update(reply.met)
                after = reply.next
    except KeyboardInterrupt:
        raise Interrupted(
            f"interrupted: {plural(found.done.total(), 'task')} done; "
            "run the same command again for the rest"
        ) from None
    return replace(found, never=[each for each in message.select if each not in met])
