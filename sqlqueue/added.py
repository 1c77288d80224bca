"""What adding cells came to, over all batches.

Pure.  What is not here: adding (`initialise.py`), how it looks (`report_init.py`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from sqlqueue.protocol import AddedReply, PhaseCounts

Code = tuple[str, str, str]
"""A phase, an experiment of it, and a version of that one's code."""


@dataclass
class Added:
    """What `init` did, or would do.  `reused`: cells that were completed, by the code of before."""

    phases: dict[str, PhaseCounts] = field(default_factory=dict)
    delivered: int = 0
    notes: list[str] = field(default_factory=list)
    set_aside: list[str] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    reused: Counter[Code] = field(default_factory=Counter)

    def add(self, reply: AddedReply) -> None:
        """Counts one more batch."""
        self.delivered += reply.delivered
        for each in reply.reused:
            self.reused[each.phase, each.experiment, each.code] += each.count
        for phase, counts in reply.phases.items():
            self.phases[phase] = summed(self.phases.get(phase, PhaseCounts()), counts)

    @property
    def total(self) -> PhaseCounts:
        """The counts of all phases."""
        total = PhaseCounts()
        for counts in self.phases.values():
            total = summed(total, counts)
        return total


def summed(left: PhaseCounts, right: PhaseCounts) -> PhaseCounts:
    """The counts of both."""
    names = PhaseCounts.__struct_fields__
    return PhaseCounts(**{name: getattr(left, name) + getattr(right, name) for name in names})
