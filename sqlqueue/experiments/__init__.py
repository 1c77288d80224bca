"""What runs: the experiments that a sweep file can name, and how a child gets hold of them.

`declare` for whoever plans (light: no torch), `load` for the child that runs a cell.
An experiment is a built-in (`poisoning`), a Python function (`package.module:function`,
found from the root), or a command that a sweep file defines.  For users: `Run`, the handle, and
`RuntimeOnly`, the marker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlqueue.errors import ExperimentError
from sqlqueue.experiments import command, function
from sqlqueue.experiments.function import RuntimeOnly
from sqlqueue.experiments.run import Run
from sqlqueue.plan.command import Command
from sqlqueue.plan.problems import did_you_mean
from sqlqueue.plan.task import BUILT_IN, Experiment

__all__ = ["BUILT_IN", "Run", "RuntimeOnly", "declare", "files", "load"]


def declare(named: str | Experiment, root: Path) -> Experiment:
    """What the experiment takes, which a sweep file names or defines; raises `ExperimentError`."""
    if isinstance(named, Experiment):
        return command.declare(named, root)
    name = named
    if name == "poisoning":
        from sqlqueue.experiments.poisoning.declaration import DECLARATION

        return DECLARATION
    _check_name(name)
    return function.declare(name, root)


def files(name: str, command_: Command | None, root: Path) -> list[Path]:
    """The user's own files of an experiment: what it loads, or what its command names."""
    if command_ is not None:
        return command.files(command_, root)
    return [] if name in BUILT_IN else function.files(name, root)


def load(name: str, root: Path) -> Callable[[dict[str, Any], Run], Mapping[str, Any]]:
    """What the child calls with a cell's parameters and the handle."""
    if name == "poisoning":
        from sqlqueue.experiments.poisoning import training

        return training.run
    _check_name(name)
    return function.load(name, root)


def _check_name(name: str) -> None:
    if ":" not in name:
        raise ExperimentError(
            f"no experiment {name!r}; expected {', '.join(BUILT_IN)}, a function of yours as "
            f"'package.module:function', or {{command: ...}}{did_you_mean(name, BUILT_IN)}"
        )
