"""What `init` did, or would do: counts per phase, and what a person should know.

Pure.  What is not here: doing it (`initialise.py`), how it looks (`report_init.py`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlqueue.lifecycle import State
from sqlqueue.protocol import AddedReply, PhaseCounts

Code = tuple[str, str, str]
"""A phase, an experiment of it, and a version of that one's code."""


@dataclass
class Added:
    """`reused`: cells that were completed, by the code of before.  `gone`: cells that are in no
    file any more, by phase and state.  `partly`: phases that stand in other files too, which were
    not given; what is gone of them is not known.  `unknown`: phases in no file given, of which
    nobody remembers where they stood.  `pruned`: how many were withdrawn, None where nobody asked
    for it; `going_on`: of these, how many another phase wants.
    """

    phases: dict[str, PhaseCounts] = field(default_factory=dict)
    delivered: int = 0
    notes: list[str] = field(default_factory=list)
    set_aside: list[str] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    reused: Counter[Code] = field(default_factory=Counter)
    shared_with: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    gone: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    partly: dict[str, list[str]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    pruned: int | None = None
    going_on: int = 0

    def add(self, reply: AddedReply) -> None:
        """Counts one more batch."""
        self.delivered += reply.delivered
        for each in reply.reused:
            self.reused[each.phase, each.experiment, each.code] += each.count
        for phase, counts in reply.phases.items():
            self.phases[phase] = summed(self.phases.get(phase, PhaseCounts()), counts)
        for phase, others in reply.shared_with.items():
            self.shared_with[phase].update(others)

    def lose(self, phases: Mapping[str, Mapping[str, int]]) -> None:
        """Counts more cells that are in no file any more."""
        for phase, states in phases.items():
            self.gone[phase].update(states)

    @property
    def total(self) -> PhaseCounts:
        """The counts of all phases."""
        total = PhaseCounts()
        for counts in self.phases.values():
            total = summed(total, counts)
        return total

    @property
    def waiting_gone(self) -> dict[str, int]:
        """What `--prune` withdraws, by phase."""
        found = {phase: states[State.PENDING.value] for phase, states in self.gone.items()}
        return {phase: count for phase, count in found.items() if count}


def summed(left: PhaseCounts, right: PhaseCounts) -> PhaseCounts:
    """The counts of both."""
    names = PhaseCounts.__struct_fields__
    return PhaseCounts(**{name: getattr(left, name) + getattr(right, name) for name in names})
