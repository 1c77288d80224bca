"""The experiments that sweep files name, as this home must read them.

Promises: each experiment is declared once and reconciled with what the home remembers of
it, so that older cells keep their signatures; what the home should remember from now on
is kept for whoever adds the tasks.  What is not here: how a declaration is found
(`experiments/`), what reconciling means (`plan/signature.py`), how it is stored.
"""

from __future__ import annotations

import difflib
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sqlqueue.experiments import command, declare
from sqlqueue.plan.command import Command
from sqlqueue.plan.signature import reconcile
from sqlqueue.plan.task import REQUIRED, Experiment, Known, Missing
from sqlqueue.protocol import ExperimentMemory, ParameterMemory

Recall = Callable[[Sequence[str]], Sequence[ExperimentMemory]]
"""What the home remembers of those experiments that it saw before; with no names, of all."""

ALIKE: Final = 0.75
"""From here on two command lines are taken for versions of one (0 to 1, `difflib`)."""


def recall_nothing(_names: Sequence[str]) -> Sequence[ExperimentMemory]:
    """What a home remembers that is not there yet."""
    return []


class Declarations:
    """The lookup that `plan.sweep.load` calls, with what came of it."""

    def __init__(self, root: Path, recall: Recall) -> None:
        self._root = root
        self._recall = recall
        self._found: dict[str, Experiment] = {}
        self.memories: dict[str, ExperimentMemory] = {}
        self.notes: list[str] = []

    def __call__(self, named: str | Experiment) -> Experiment:
        name = named if isinstance(named, str) else named.name
        if name not in self._found:
            self._found[name] = self._reconciled(declare(named, self._root))
        return self._found[name]

    def _reconciled(self, declared: Experiment) -> Experiment:
        name = declared.name
        remembered = next((each for each in self._recall([name]) if each.name == name), None)
        experiment, known, notes = reconcile(declared, known_of(remembered))
        self.memories[name] = memory_of(name, known, declared.command)
        if declared.command is not None:
            notes += command.lacks(declared.command, self._root)
            notes += self._changes(name, declared.command, remembered)
        self.notes += [f"{name}: {note}" for note in notes]
        return experiment

    def _changes(self, name: str, now: Command, before: ExperimentMemory | None) -> list[str]:
        """Whether it is another command than before, or an old one under another name."""
        if before is not None:
            changed = not now.says_the_same(before.command)
            return ["the command changed: later attempts run the new one"] if changed else []
        if not _called_by_text(name, now):
            return []
        known = [each.name for each in self._recall([]) if _called_by_text(each.name, each.command)]
        alike = difflib.get_close_matches(name, known, n=1, cutoff=ALIKE)
        if not alike:
            return []
        return [
            f"these are other cells than those of {alike[0]!r}, which is known here: without a "
            f"`name` a command is called by its text; to go on with them, give it "
            f"`name: {json.dumps(alike[0], ensure_ascii=False)}`"
        ]


def _called_by_text(name: str, command: Command | None) -> bool:
    """Whether a command has no name of its own."""
    try:
        return command is not None and shlex.split(name) == list(command.words)
    except ValueError:
        return False


def known_of(memory: ExperimentMemory | None) -> dict[str, Known] | None:
    """What the home remembers, as the plan wants it."""
    if memory is None:
        return None
    return {
        each.name: Known(each.original, _value(each.first_default), _value(each.last_default))
        for each in memory.parameters
    }


def memory_of(
    name: str, known: Mapping[str, Known], command: Command | None = None
) -> ExperimentMemory:
    """What the home is to remember, as the wire wants it."""
    parameters = [
        ParameterMemory(
            name=each,
            original=what.original,
            first_default=_text(what.first_default),
            last_default=_text(what.last_default),
        )
        for each, what in known.items()
    ]
    return ExperimentMemory(name=name, parameters=parameters, command=command)


def _value(text: str | None) -> Any:
    return REQUIRED if text is None else json.loads(text)


def _text(default: Any) -> str | None:
    return None if isinstance(default, Missing) else json.dumps(default)
