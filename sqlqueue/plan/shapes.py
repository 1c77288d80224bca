"""The keys of a sweep file, and words for what stands where none of them can.

What is not here: how a file is walked (`blocks.py`).
"""

from __future__ import annotations

from typing import Final

from sqlqueue.plan.problems import describe, did_you_mean
from sqlqueue.plan.task import STEERING
from sqlqueue.plan.tree import Entry, Items, Scalar, Tree, plain

_SHAPES: Final = ("combinations", "zip", "when", "exclude", "include", "defaults")
PHASE_KEYS: Final = (*_SHAPES, *sorted(STEERING))
TOP_KEYS: Final = ("defaults", "seeds", "extends")
"""The keys at the top that are no phases."""


def is_names(tree: Tree) -> bool:
    """Whether it is a list of names and nothing else."""
    return (
        isinstance(tree, Items)
        and bool(tree.items)
        and all(isinstance(each, Scalar) for each in tree.items)
    )


def no_phase(entry: Entry) -> str:
    """The problem of a key at the top that holds no mapping."""
    hint = did_you_mean(entry.key, TOP_KEYS)
    found = describe(plain(entry.value))
    return (
        f"found {found}, expected a phase (a mapping with `combinations`); a value shared by all "
        f"phases belongs into `defaults`{hint}"
    )


def unknown_key(key: str) -> str:
    """The problem of a key that no phase has."""
    return (
        f"unknown key, expected one of {', '.join(PHASE_KEYS)}; a parameter belongs into "
        f"`combinations` or `defaults`{did_you_mean(key, PHASE_KEYS)}"
    )
