"""One sweep file's tree -> its blocks: the shape is checked here, the meaning later.

A *block* is what one file says of one phase.  Promises: every key that stands at a wrong
place, twice, or with the wrong shape is a problem with its line; what comes out has the
right shape.  What is not here: parameters, their values and the experiment (`bind.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from sqlqueue.plan.problems import Place, Problems, describe, did_you_mean
from sqlqueue.plan.shapes import TOP_KEYS, is_names, no_phase, unknown_key
from sqlqueue.plan.task import STEERING
from sqlqueue.plan.tree import (
    Entries,
    Entry,
    Items,
    Scalar,
    TextError,
    Tree,
    complaints,
    plain,
    texts,
)
from sqlqueue.plan.yaml_text import parse

PHASE_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,100}")
_CELLS: Final = ("combinations", "zip", "include")
"""A phase needs one of these."""


@dataclass(frozen=True, slots=True)
class Given:
    """A key's value and where the key stands."""

    place: Place
    tree: Tree

    def scalar(self, problems: Problems) -> Any:
        """The value as plain Python; what has no clear value is a problem, and None."""
        for line, complaint in complaints(self.tree):
            problems.add(self.place.at(line), complaint)
        return plain(self.tree)


Keys = dict[str, Given]


@dataclass(frozen=True, slots=True)
class When:
    """Values for the cells that match a condition."""

    place: Place
    condition: Keys
    values: Keys


@dataclass(slots=True)
class Block:
    """What one file says of one phase."""

    name: str
    place: Place
    combinations: Keys = field(default_factory=dict)
    zips: list[Given] = field(default_factory=list)
    when: list[When] = field(default_factory=list)
    exclude: list[Keys] = field(default_factory=list)
    include: list[Keys] = field(default_factory=list)
    defaults: Keys = field(default_factory=dict)
    steering: Keys = field(default_factory=dict)


@dataclass(slots=True)
class File:
    """What one file says.  `whole`: every phase has the shape of one and is among `blocks`."""

    defaults: Keys
    seeds: Given | None
    blocks: list[Block]
    whole: bool = True


def read(
    name: str, text: str, order: int, problems: Problems, is_base: bool = False
) -> File | None:
    """The blocks of one file; None when its text is not even one YAML mapping.

    `is_base`: another file extends it, so it may be without phases.
    """
    try:
        top = parse(text)
    except TextError as error:
        for line, problem in error.problems:
            problems.add(Place(name, line, order), problem)
        return None
    return _Reader(Place(name, 1, order), problems).file(top, is_base)


class _Reader:
    """Walks over one file's tree."""

    def __init__(self, place: Place, problems: Problems) -> None:
        self.place = place
        self.problems = problems

    def file(self, top: Entries, is_base: bool) -> File:
        defaults, seeds = top.get("defaults"), top.get("seeds")
        phases = [each for each in top.entries if each.key not in TOP_KEYS]
        found = File(
            defaults=self._keys(defaults, self.place.within("defaults")) if defaults else {},
            seeds=Given(self.place.within("seeds").at(seeds.line, "seed"), seeds.value)
            if seeds
            else None,
            blocks=[
                self._block(each, each.value) for each in phases if isinstance(each.value, Entries)
            ],
        )
        for each in phases:
            if not isinstance(each.value, Entries):
                found.whole = False
                self.problems.add(self._place(each), no_phase(each))
        if (extends := top.get("extends")) and texts(extends.value) is None:
            given = Given(self.place.at(extends.line, "extends"), extends.value)
            self._wrong(given, "the name of a file, or a list of names")
        if not phases and not is_base:
            problem = "found no phase, expected at least one: a name, with `combinations` below it"
            self.problems.add(self.place, problem)
        return found

    def _place(self, entry: Entry) -> Place:
        return self.place.within(f"phase {entry.key!r}").at(entry.line)

    def _block(self, entry: Entry, entries: Entries) -> Block:
        place = self._place(entry)
        block = Block(entry.key, place)
        if not PHASE_NAME.fullmatch(entry.key):
            self.problems.add(place, "expected a name of 1 to 100 letters, digits, or any of ._-")
        for each in entries.entries:
            self._phase_key(block, each)
        if not any(entries.get(key) for key in _CELLS):
            hint = did_you_mean(entry.key, TOP_KEYS)
            problem = f"found no `combinations`, which every phase has; add them{hint}"
            self.problems.add(place, problem)
        return block

    def _phase_key(self, block: Block, entry: Entry) -> None:
        place, given = block.place, Given(block.place.at(entry.line, entry.key), entry.value)
        if entry.key == "combinations":
            self._combinations(block, given)
        elif entry.key == "zip":
            block.zips = self._groups(given)
        elif entry.key == "when":
            block.when = self._whens(given)
        elif entry.key == "defaults":
            block.defaults |= self._keys(entry, place)
        elif entry.key in ("exclude", "include"):
            cells = [self._cell(each, given) for each in self._list(given)]
            setattr(block, entry.key, [each for each in cells if each])
        elif entry.key in STEERING:
            self._set(block.steering, given)
        else:
            self.problems.add(given.place, unknown_key(entry.key))

    def _keys(self, entry: Entry, place: Place) -> Keys:
        """The keys of a `defaults` mapping; nothing at all is an empty one."""
        tree = entry.value
        if isinstance(tree, Scalar) and tree.value is None and not tree.complaint:
            return {}
        if not isinstance(tree, Entries):
            self._wrong(Given(place.at(entry.line, "defaults"), tree), "a mapping")
            return {}
        return {each.key: Given(place.at(each.line, each.key), each.value) for each in tree.entries}

    # --- what makes cells -------------------------------------------------------------

    def _combinations(self, block: Block, given: Given) -> None:
        for entry in self._combined(given):
            target = block.steering if entry.key in STEERING else block.combinations
            self._set(target, Given(block.place.at(entry.line, entry.key), entry.value))

    def _set(self, target: Keys, given: Given) -> None:
        key = str(given.place.key)
        if key in target:
            first = target[key].place.line
            problem = f"found twice in one phase (first in line {first}); remove one"
            self.problems.add(given.place, problem)
        target[key] = given

    def _combined(self, given: Given) -> Iterable[Entry]:
        """The entries of one mapping, or of a list of one-key mappings."""
        if isinstance(given.tree, Scalar) or given.tree.size == 1:
            self._wrong(given, "a list of one-key mappings (`- key: [values]`), or one mapping")
            return []
        if isinstance(given.tree, Items):
            return [entry for item in given.tree.items for entry in self._one_key(item, given)]
        return given.tree.entries

    def _one_key(self, item: Tree, given: Given) -> list[Entry]:
        if not isinstance(item, Entries):
            self._wrong(Given(given.place.at(item.line), item), "`key: value`")
        elif len(item.entries) != 1:
            keys = ", ".join(each.key for each in item.entries) or "none"
            self.problems.add(
                given.place.at(item.line),
                f"found {len(item.entries)} keys in one list item ({keys}), expected one; begin "
                "each key with its own -, or use `zip` for keys that move together",
            )
        return item.entries if isinstance(item, Entries) else []

    def _groups(self, given: Given) -> list[Given]:
        """The groups of `zip`: each a list of names, or a mapping of equally long lists."""
        if is_names(given.tree) or isinstance(given.tree, Entries):
            groups = [given]
        else:
            groups = [Given(given.place.at(each.line), each) for each in self._list(given)]
        for each in groups:
            if not is_names(each.tree) and not (
                isinstance(each.tree, Entries) and each.tree.entries
            ):
                self._wrong(each, "a list of keys, or a mapping of keys to lists")
        return groups

    def _cell(self, item: Tree, given: Given) -> Keys:
        """One cell of `exclude` or `include`."""
        place = given.place.at(item.line)
        if not isinstance(item, Entries) or not item.entries:
            self._wrong(Given(place, item), "a mapping of parameters to values")
            return {}
        for each in item.entries:
            if each.key in STEERING:
                problem = "steers the whole phase and cannot be part of a cell; move it out"
                self.problems.add(place.at(each.line, each.key), problem)
        return {
            each.key: Given(place.at(each.line, each.key), each.value)
            for each in item.entries
            if each.key not in STEERING
        }

    def _whens(self, given: Given) -> list[When]:
        """The blocks of `when`, or the one."""
        trees = [given.tree] if isinstance(given.tree, Entries) else self._list(given)
        found = [self._when(each, given.place.at(each.line)) for each in trees]
        return [each for each in found if each.condition and each.values]

    def _when(self, tree: Tree, place: Place) -> When:
        expected = "`if` and `then`"
        found: dict[str, Keys] = {}
        if not isinstance(tree, Entries):
            self._wrong(Given(place, tree), f"a mapping with {expected}")
            return When(place, {}, {})
        for each in tree.entries:
            given = Given(place.at(each.line, each.key), each.value)
            if each.key in ("if", "then"):
                found[each.key] = self._cell(each.value, given)
            else:
                hint = did_you_mean(each.key, ("if", "then"))
                self.problems.add(given.place, f"unknown key, expected {expected}{hint}")
        for key in (each for each in ("if", "then") if not tree.get(each)):
            self.problems.add(place, f"found a block without `{key}`, expected {expected}")
        return When(place, found.get("if", {}), found.get("then", {}))

    def _list(self, given: Given) -> list[Tree]:
        if isinstance(given.tree, Items) and given.tree.items:
            return given.tree.items
        self._wrong(given, "a list of at least one item")
        return []

    def _wrong(self, given: Given, expected: str) -> None:
        found = describe(given.scalar(self.problems))
        empty = isinstance(given.tree, Items | Entries) and given.tree.size == 1
        found = found.replace("a ", "an empty ", 1) if empty else found
        self.problems.add(given.place, f"found {found}, expected {expected}")
