"""The frozen values that all floors share: what an experiment takes, what a task is.

Pure: no disk, clock or network.  Names of parameters are the experiment's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NewType

from msgspec import Struct

from sqlqueue.plan.command import Command

Signature = NewType("Signature", str)
TaskId = NewType("TaskId", str)

STEERING: Final = frozenset(
    {"output_dir", "experiment", "project_name", "priority", "max_attempts", "timeout"}
)
"""Keys of a sweep file that steer and are not parameters; never in a signature."""

OWN_COLUMNS: Final = ("phase", "task_id", "signature")
"""The first columns of every CSV; no parameter may bear one of these names."""

BUILT_IN: Final = ("poisoning",)
"""Experiments that need no code of the user's."""

Kind = Literal["int", "float", "bool", "str", "any"]


class Missing:
    """The type of `REQUIRED`: a parameter without a default."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = Missing()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One declared parameter.

    `kind`: the type its values are brought to.  `default`: the value when a cell leaves
    it out, or REQUIRED.  `runtime_only`: it does not change what is measured, so it is in
    no signature and no CSV.  `choices`: the only values allowed, if given.  `minimum` /
    `maximum`: inclusive bounds, if given.  `optional`: None is allowed too.  `original`:
    known since the experiment was first seen, so it always counts in the signature;
    otherwise it is left out of the signature while it equals `first_default`.
    """

    name: str
    kind: Kind = "any"
    default: Any = REQUIRED
    runtime_only: bool = False
    choices: tuple[Any, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    optional: bool = False
    original: bool = True
    first_default: Any = REQUIRED

    @property
    def required(self) -> bool:
        return isinstance(self.default, Missing)


@dataclass(frozen=True, slots=True)
class Experiment:
    """What runs: its name as sweep files say it, and the parameters that it declares.

    `open_ended`: takes parameters beyond the declared ones (a function with **kwargs).
    `cost`: estimates the relative duration of a cell from its complete parameters.
    `command`: what it runs, if it is a command that a sweep file defines.
    """

    name: str
    parameters: tuple[Parameter, ...] = ()
    open_ended: bool = False
    cost: Callable[[Mapping[str, Any]], float] | None = None
    command: Command | None = None

    def parameter(self, name: str) -> Parameter | None:
        return next((each for each in self.parameters if each.name == name), None)


class Task(Struct, frozen=True):
    """One cell of one phase, ready to be added: what runs, with what, for which directory.

    `parameters`: complete, defaults filled in, runtime-only ones included, in the order of
    the experiment's declaration.  `cost`: relative estimate of its duration (1.0 when
    unknown).  `output_dir`: as written, placeholders filled in, relative to the root.
    """

    signature: Signature
    phase: str
    experiment: str
    parameters: Mapping[str, Any]
    output_dir: str
    seed: int | None = None
    runtime_only: tuple[str, ...] = ()
    priority: int = 0
    max_attempts: int = 3
    timeout_seconds: float | None = None
    cost: float = 1.0


@dataclass(frozen=True, slots=True)
class Known:
    """What the home remembers of a parameter: `original`, else the default it came with."""

    original: bool
    first_default: Any = field(default=REQUIRED)
    last_default: Any = field(default=REQUIRED)
