"""The experiments that sweep files name, as this home must read them.

Promises: each experiment is declared once and reconciled with what the home remembers of
it, so that older cells keep their signatures; what the home should remember from now on
is kept for whoever adds the tasks.  What is not here: how a declaration is found
(`experiments/`), what reconciling means (`plan/signature.py`), how it is stored.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlqueue.experiments import declare
from sqlqueue.plan.signature import reconcile
from sqlqueue.plan.task import REQUIRED, Experiment, Known, Missing
from sqlqueue.protocol import ExperimentMemory, ParameterMemory

Recall = Callable[[str], ExperimentMemory | None]
"""What the home remembers of an experiment; None when it never saw it."""


def recall_nothing(_name: str) -> ExperimentMemory | None:
    """What a home remembers that is not there yet."""
    return None


class Declarations:
    """The lookup that `plan.sweep.load` calls, with what came of it."""

    def __init__(self, root: Path, recall: Recall) -> None:
        self._root = root
        self._recall = recall
        self._found: dict[str, Experiment] = {}
        self.memories: dict[str, ExperimentMemory] = {}
        self.notes: list[str] = []

    def __call__(self, name: str) -> Experiment:
        if name not in self._found:
            self._found[name] = self._reconciled(declare(name, self._root))
        return self._found[name]

    def _reconciled(self, declared: Experiment) -> Experiment:
        name = declared.name
        experiment, known, notes = reconcile(declared, known_of(self._recall(name)))
        self.memories[name] = memory_of(name, known)
        self.notes += [f"{name}: {note}" for note in notes]
        return experiment


def known_of(memory: ExperimentMemory | None) -> dict[str, Known] | None:
    """What the home remembers, as the plan wants it."""
    if memory is None:
        return None
    return {
        each.name: Known(each.original, _value(each.first_default), _value(each.last_default))
        for each in memory.parameters
    }


def memory_of(name: str, known: Mapping[str, Known]) -> ExperimentMemory:
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
    return ExperimentMemory(name=name, parameters=parameters)


def _value(text: str | None) -> Any:
    return REQUIRED if text is None else json.loads(text)


def _text(default: Any) -> str | None:
    return None if isinstance(default, Missing) else json.dumps(default)
