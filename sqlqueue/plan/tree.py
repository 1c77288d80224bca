"""What a YAML file holds, with the line of everything: the nodes that readers walk over.

A node may hang in several places (aliases), so nothing changes one after it was read.
`depth` and `size` count a node as if every alias were written out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


class TextError(ValueError):
    """The text is not one readable YAML mapping; `problems` are (line, message) pairs."""

    def __init__(self, *problems: tuple[int, str]) -> None:
        super().__init__(problems[0][1])
        self.problems = problems


@dataclass(slots=True)
class Scalar:
    """A single value.  `complaint`: why it has none, when it could mean several things."""

    value: Any
    line: int
    text: str
    plain: bool = True
    complaint: str = ""
    depth: int = 0
    size: int = 1


@dataclass(slots=True)
class Items:
    """A list."""

    line: int
    items: list[Tree] = field(default_factory=list)
    depth: int = 1
    size: int = 1


@dataclass(slots=True)
class Entry:
    """One key of a mapping, where it stands, and its value."""

    key: str
    line: int
    value: Tree


@dataclass(slots=True)
class Entries:
    """A mapping; keys are unique, merges done."""

    line: int
    entries: list[Entry] = field(default_factory=list)
    depth: int = 1
    size: int = 1

    def get(self, key: str) -> Entry | None:
        return next((each for each in self.entries if each.key == key), None)


Tree = Scalar | Items | Entries


def plain(tree: Tree) -> Any:
    """The node as plain Python values; scalars with a complaint are None."""
    if isinstance(tree, Scalar):
        return tree.value
    if isinstance(tree, Items):
        return [plain(each) for each in tree.items]
    return {each.key: plain(each.value) for each in tree.entries}


def complaints(tree: Tree) -> list[tuple[int, str]]:
    """(line, complaint) of every scalar below that has no clear value."""
    if isinstance(tree, Scalar):
        return [(tree.line, tree.complaint)] if tree.complaint else []
    below = tree.items if isinstance(tree, Items) else [each.value for each in tree.entries]
    return [found for each in below for found in complaints(each)]


def texts(tree: Tree) -> list[tuple[str, int]] | None:
    """A text, or those of a list, with their lines; None when there is anything else."""
    trees = tree.items if isinstance(tree, Items) else [tree]
    found = [
        (each.value, each.line)
        for each in trees
        if isinstance(each, Scalar) and isinstance(each.value, str) and each.value.strip()
    ]
    return found if found and len(found) == len(trees) else None
