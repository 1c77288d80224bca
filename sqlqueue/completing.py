"""What a shell may complete: task ids, and the words of selectors with names of the queue's.

Promises: quick, whatever the queue is like (sqlite3 is all that is imported, and some hundred names
are all that is read); with nothing to say, or when anything goes wrong, it says nothing.  What is
not here: commands and options, which typer completes; the SQL (`store/names.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import typer

from sqlqueue.lifecycle import State

Complete = Callable[[typer.Context, str], list[str]]
Names = Callable[[Path, str], Iterable[str]]

STATES: Final = tuple(each.value.lower() for each in State)


def _quiet(complete: Complete) -> Complete:
    """The same, and nothing at all when it fails: a traceback would stand at the prompt."""

    def completed(context: typer.Context, incomplete: str) -> list[str]:
        try:
            return complete(context, incomplete)
        except Exception:
            return []

    return completed


def _database(context: typer.Context) -> Path | None:
    """That of the home that is meant, where it may be looked at beside a manager."""
    from sqlqueue.filesystems import on_network
    from sqlqueue.home import find

    above: Any = context.parent or context
    given = context.params.get("home") or above.params.get("home")
    home = find(Path(given) if isinstance(given, str | Path) else None)
    return None if on_network(home.path) or not home.database.exists() else home.database


def _before(context: typer.Context, incomplete: str) -> tuple[str, str]:
    """The name before the `=` that is being completed, and what stands after it.

    Bash hands `phase=ex` over as three words, and wants the last one back.
    """
    if "=" in incomplete:
        name, _, value = incomplete.partition("=")
        return name, value
    typed = [str(each) for each in context.params.get("selector") or []]
    if _is_at_equals() and typed:
        return typed[-1], ""
    if len(typed) > 1 and typed[-1] == "=":
        return typed[-2], incomplete
    return "", incomplete


def _is_at_equals() -> bool:
    """Whether bash is right after the `=`: typer, which has seen options alone, drops it then."""
    words, at = os.environ.get("COMP_WORDS", "").split(), os.environ.get("COMP_CWORD", "")
    return at.isdigit() and words[int(at) : int(at) + 1] == ["="]


def _values(names: dict[str, Names], context: typer.Context, incomplete: str) -> list[str]:
    """Completions of `name=value`, of those names; whole words before there is a `=`."""
    database = _database(context)
    if database is None:
        return []
    name, value = _before(context, incomplete)
    if not name:
        fitting = [each for each in names if f"{each}=".startswith(incomplete)]
        return [f"{each}={found}" for each in fitting for found in names[each](database, "")]
    found = list(names[name](database, value)) if name in names else []
    return [f"{name}={each}" if incomplete.startswith(f"{name}=") else each for each in found]


def _of(name: str) -> Names:
    """What the store knows by that name; imported only when it is asked."""

    def names(database: Path, prefix: str) -> Iterable[str]:
        from sqlqueue.store import names as store

        found: Iterable[str] = getattr(store, name)(database, prefix)
        return found

    return names


def _states(_database: Path, prefix: str) -> Iterable[str]:
    return [each for each in STATES if each.startswith(prefix)]


_PHASES: Final = {"phase": _of("phases")}
_WORKERS: Final = {name: _of(f"{name}s") for name in ("worker", "host", "device")}


@_quiet
def task_ids(context: typer.Context, incomplete: str) -> list[str]:
    """Ids of tasks."""
    database = _database(context)
    return list(_of("task_ids")(database, incomplete)) if database is not None else []


@_quiet
def words(context: typer.Context, incomplete: str) -> list[str]:
    """Whatever a selector may have."""
    names = {**_PHASES, "state": _states, **_WORKERS}
    found = _values(names, context, incomplete)
    return found if _before(context, incomplete)[0] else found + task_ids(context, incomplete)


@_quiet
def phases(context: typer.Context, incomplete: str) -> list[str]:
    """`phase=NAME`."""
    return _values(_PHASES, context, incomplete)


@_quiet
def workers(context: typer.Context, incomplete: str) -> list[str]:
    """`worker=NAME`, `host=NAME`, `device=NAME`."""
    return _values(_WORKERS, context, incomplete)


@_quiet
def held(context: typer.Context, incomplete: str) -> list[str]:
    """What may be paused or drained."""
    return _values({**_PHASES, **_WORKERS}, context, incomplete)
