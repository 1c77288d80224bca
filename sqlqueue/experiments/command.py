"""A command as an experiment: what is there of it, and what a cell makes of it.

`declare` and `lacks` for whoever plans, `prepare` for the child that runs a cell.  Promises:
what is to be run is found, or an `ExperimentError` says what is missing and where it was looked
for.  What is not here: running it (`worker/program.py`), what it returns (`returned.py`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from sqlqueue.errors import ExperimentError
from sqlqueue.plan.command import Command, fill
from sqlqueue.plan.nested import nest
from sqlqueue.plan.task import Experiment

MOST_WORD_CHARACTERS: Final = 4096
"""A longer word names no file."""


@dataclass(frozen=True)
class Prepared:
    """What to run, where, and what is added to the environment."""

    words: list[str]
    directory: Path
    environment: dict[str, str]


def declare(experiment: Experiment, root: Path) -> Experiment:
    """The experiment, with those of its words that are files here noted."""
    assert experiment.command is not None
    command = experiment.command
    folder = root / command.directory
    found = (each for each in command.words if _is_file(folder, each))
    return replace(experiment, command=replace(command, files=tuple(dict.fromkeys(found))))


def _is_file(folder: Path, word: str) -> bool:
    """Whether a word names a file of the project: a relative path, without placeholders."""
    plain = not word.startswith(("/", "-")) and "{" not in word and "}" not in word
    try:
        return plain and len(word) < MOST_WORD_CHARACTERS and (folder / word).is_file()
    except (OSError, ValueError):
        return False


def files(command: Command, root: Path) -> list[Path]:
    """Those of the project that it names."""
    return [root / command.directory / each for each in command.files]


def lacks(command: Command, root: Path) -> list[str]:
    """What a person should know before the command is run on this machine."""
    folder = root / command.directory
    if not folder.is_dir():
        return [f"the folder {folder} is not there"]
    program = command.words[0]
    if "{" in program or shutil.which(_in(folder, program), path=_path(command)) is not None:
        return []
    return [f"the program {program!r} is not found on this machine"]


def _in(folder: Path, program: str) -> str:
    """A program with a slash is meant from where the command starts, as in a shell."""
    return str(folder / program) if "/" in program else program


def _path(command: Command) -> str | None:
    own = command.environment.get("PATH")
    return None if own is None or "{" in own else own


def prepare(command: Command, root: Path, values: Mapping[str, Any]) -> Prepared:
    """The command of one cell; raises `ExperimentError` when something of it is not there.

    `values`: of every placeholder.
    """
    folder = root / command.directory
    if not folder.is_dir():
        raise ExperimentError(f"no folder {folder}, where the command is to start")
    whole = {name for name in command.placeholders() if name not in values}
    values = {**nest(values, whole), **values}
    try:
        words = [fill(each, values) for each in command.words]
        environment = {name: fill(each, values) for name, each in command.environment.items()}
    except KeyError as missing:
        raise ExperimentError(_changed(str(missing.args[0]))) from None
    for each in command.files:
        if not (folder / each).is_file():
            raise ExperimentError(f"no file {folder / each}, which the command names")
    path = environment.get("PATH", os.environ.get("PATH"))
    program = shutil.which(_in(folder, words[0]), path=path) if words[0] else None
    if program is None:
        raise ExperimentError(_absent(words[0], folder, path))
    return Prepared([program, *words[1:]], folder, environment)


def _changed(name: str) -> str:
    return (
        f"the command names {{{name}}} now, but this task was added without it; run "
        "`sqlqueue init` again and cancel the old tasks"
    )


def _absent(program: str, folder: Path, path: str | None) -> str:
    if "/" in program:
        found = folder / program
        why = "it is not executable (chmod +x)" if found.is_file() else "there is no such file"
        return f"cannot run {found}: {why}"
    return f"no program {program!r}; PATH is {path or 'empty'}"
