"""A pytest plugin that takes one guard away before any test runs: `pytest -p mutant`, MUTANT=name.

For guards whose proofs are tests of their own (`test_crash_mutations.py` says which).
What is not here: guards of the disk, which are taken away in one process.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from sqlqueue.home_lock import HomeLock
from sqlqueue.manager import connection
from sqlqueue.manager.leases import Leases
from sqlqueue.manager.session import Session


def no_epoch() -> None:
    """Writes, whoever has the home by now."""
    Session.transaction = Session.begun  # type: ignore[method-assign]


def no_look_at_the_lock() -> None:
    HomeLock.check = lambda _lock: None  # type: ignore[method-assign]


def no_lease() -> None:
    Leases.lapsed = lambda *_: []  # type: ignore[method-assign]


def every_reply_twice() -> None:
    real = connection.Connection._write

    def write(self: Any, data: bytes) -> None:
        real(self, data)
        real(self, data)

    connection.Connection._write = write  # type: ignore[method-assign]


MUTANTS: dict[str, Callable[[], None]] = {
    each.__name__: each for each in (no_epoch, no_look_at_the_lock, no_lease, every_reply_twice)
}

if name := os.environ.get("MUTANT"):
    MUTANTS[name]()
