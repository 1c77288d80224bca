"""What the columns of an old CSV are: parameters of tasks, metrics, or of no concern.

Pure.  A column is a parameter when a task has one of that name: exactly, else without trivial
differences (`Width Factor` for `width_factor`) where only one name is like it.  `signature` is
proof; `phase` and `task_id` prove nothing, and are ours to write.  All else was measured.
What is not here: rows (`fitting.py`), reading files.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlqueue.errors import UsageError
from sqlqueue.plan.problems import did_you_mean
from sqlqueue.plan.spelling import alike
from sqlqueue.plan.task import OWN_COLUMNS

SIGNATURE: Final = OWN_COLUMNS[2]
NAMELESS: Final = "(no name)"
MOST_SHOWN: Final = 12


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person said of columns: other names for some, and which are of no concern."""

    renames: Mapping[str, str] = field(default_factory=dict)
    ignored: Collection[str] = ()


@dataclass(frozen=True, slots=True)
class Layout:
    """`parameters`, `metrics`: by the index of the column.  `signature`: where it stands.

    `ignored`: columns by name, and why.
    """

    columns: tuple[str, ...]
    parameters: dict[int, str]
    metrics: dict[int, str]
    signature: int | None = None
    ignored: dict[str, str] = field(default_factory=dict)

    def otherwise(self) -> dict[str, str]:
        """Columns that bear another name than the parameter that they are."""
        named = {self.columns[index]: name for index, name in self.parameters.items()}
        return {column: name for column, name in named.items() if column != name}


def layout(
    header: Sequence[str], known: Collection[str], hidden: Collection[str], wish: Wish
) -> Layout:
    """What the columns are.  `known`: names of parameters; `hidden`: those that are runtime only.

    Raises `UsageError` where two columns are one, or nothing could be adopted.
    """
    columns = tuple(wish.renames.get(each.strip(), each.strip()) for each in header)
    ignored = _ignored(header, columns, wish)
    kept = {index: name for index, name in enumerate(columns) if index not in ignored}
    _refuse_doubles(kept.values())
    likely = _likely(known)
    parameters: dict[int, str] = {}
    for index, name in kept.items():
        if (found := name if name in known else likely.get(alike(name))) is not None:
            parameters[index] = found
    for index in [index for index, name in parameters.items() if name in hidden]:
        ignored[index] = "is runtime only"
        del parameters[index]
    _refuse_one_twice(columns, parameters)
    signature = next((index for index, name in kept.items() if name == SIGNATURE), None)
    rest = kept.keys() - parameters.keys() - ignored.keys() - {signature}
    metrics = {index: columns[index] for index in sorted(rest)}
    _refuse_barren(columns, parameters, metrics, signature, known)
    told = {columns[index] or NAMELESS: why for index, why in sorted(ignored.items())}
    return Layout(columns, parameters, metrics, signature, told)


def recognised(header: Sequence[str], known: Collection[str], wish: Wish) -> int:
    """How many columns of a header have a name that means something here."""
    names = {alike(each) for each in (*known, *OWN_COLUMNS)}
    renamed = (wish.renames.get(each.strip(), each.strip()) for each in header)
    return sum(alike(each) in names for each in renamed)


def _ignored(header: Sequence[str], columns: Sequence[str], wish: Wish) -> dict[int, str]:
    found = {}
    for index, (given, name) in enumerate(zip(header, columns, strict=True)):
        if name in wish.ignored or given.strip() in wish.ignored:
            found[index] = "as asked for"
        elif not name:
            found[index] = "has no name"
        elif name in OWN_COLUMNS and name != SIGNATURE:
            found[index] = "is given by this queue"
    return found


def _likely(known: Collection[str]) -> dict[str, str]:
    """Names by what they are alike to, where no other name is."""
    found: dict[str, str] = {}
    several = set()
    for name in known:
        like = alike(name)
        if like in found:
            several.add(like)
        found[like] = name
    return {like: name for like, name in found.items() if like not in several}


def _refuse_doubles(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UsageError(
                f"two columns are called {name!r}; give one of them another name in the file"
            )
        seen.add(name)


def _refuse_one_twice(columns: Sequence[str], parameters: Mapping[int, str]) -> None:
    seen: dict[str, str] = {}
    for index, name in parameters.items():
        if name in seen:
            raise UsageError(
                f"the columns {seen[name]!r} and {columns[index]!r} both look like the parameter "
                f"{name!r}; say which is not with --ignore or --rename"
            )
        seen[name] = columns[index]


def _refuse_barren(
    columns: Sequence[str],
    parameters: Mapping[int, str],
    metrics: Mapping[int, str],
    signature: int | None,
    known: Collection[str],
) -> None:
    if not parameters and signature is None:
        has = ", ".join([each or NAMELESS for each in columns][:MOST_SHOWN])
        hint = next(filter(None, (did_you_mean(each, known) for each in columns if each)), "")
        raise UsageError(
            f"no column is a parameter of a task{hint}; the columns are {has}, the parameters "
            f"{', '.join(sorted(known)[:MOST_SHOWN])}; --rename OLD=NEW says which is which"
        )
    if not metrics:
        raise UsageError("no column holds a result: each is a parameter, or ignored")


def refuse_unused(wish: Wish, headers: Iterable[Sequence[str]]) -> None:
    """Raises `UsageError` for a column that was named and that no file has."""
    there = {each.strip() for header in headers for each in header}
    there |= {wish.renames[each] for each in there & wish.renames.keys()}
    for option, names in (("--rename", wish.renames), ("--ignore", wish.ignored)):
        for name in names:
            if name not in there:
                hint = did_you_mean(name, there)
                raise UsageError(f"{option}: no file has a column {name!r}{hint}")
