"""`extends`: the files whose `defaults` and `seeds` a sweep file takes over.

Pure: says which files a text names, and what holds when all are there; who reads them hands
them in as a `Source`.  What is not here: the disk, circles and limits (`sweep_files.py`).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from sqlqueue.plan.blocks import File, Keys
from sqlqueue.plan.nested import above
from sqlqueue.plan.tree import TextError, texts
from sqlqueue.plan.yaml_text import parse

_KEY: Final = "extends"


class Source(NamedTuple):
    """A sweep file.  `bases`: name and text of each file that it extends, directly or not,
    what holds least first.  `whole`: none of them is missing."""

    name: str
    text: str
    bases: tuple[tuple[str, str], ...] = ()
    whole: bool = True


def wanted(text: str) -> list[tuple[str, int]]:
    """The files that a text extends, as written, and the line of each.

    None where the text is no sweep file; what is wrong with it is told when it is loaded.
    """
    if _KEY not in text:
        return []
    try:
        entry = parse(text).get(_KEY)
    except TextError:
        return []
    return [] if entry is None else texts(entry.value) or []


def extended(file: File, bases: list[File]) -> File:
    """The file with what its bases give; later ones over earlier ones, its own over all."""
    defaults: Keys = {}
    seeds = None
    for each in (*bases, file):
        defaults = _over(defaults, each.defaults)
        seeds = each.seeds or seeds
    return File(defaults, seeds, file.blocks, file.whole)


def _over(lower: Keys, upper: Keys) -> Keys:
    """A name replaces the same name, and entries of it (`optimizer` all of `optimizer.lr`)."""
    kept = {
        name: given
        for name, given in lower.items()
        if name not in upper and upper.keys().isdisjoint(above(name))
    }
    return kept | upper
