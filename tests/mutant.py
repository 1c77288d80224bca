"""A pytest plugin that takes one guard away before any test runs: `pytest -p mutant`, MUTANT=name.

For guards whose proofs are tests of their own (`test_crash_mutations.py` says which).
What is not here: guards of the disk, which are taken away in one process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from sqlqueue.disk import Disk
from sqlqueue.home_lock import HomeLock
from sqlqueue.manager import connection
from sqlqueue.manager.leases import Leases
from sqlqueue.manager.session import Session
from sqlqueue.store import recovery


def no_epoch() -> None:
    """Writes, whoever has the home by now."""
    Session.transaction = Session.begun  # type: ignore[method-assign]


def no_look_at_the_lock() -> None:
    HomeLock.check = lambda _lock: None  # type: ignore[method-assign]


def no_look_after_the_commit() -> None:
    """What was committed is believed to be in the database that others read."""
    real = HomeLock.check

    def check(lock: HomeLock) -> None:
        if sys._getframe(1).f_code.co_name != "_batch":
            real(lock)

    HomeLock.check = check  # type: ignore[method-assign]


def no_lease() -> None:
    Leases.lapsed = lambda *_: []  # type: ignore[method-assign]


def every_reply_twice() -> None:
    real = connection.Connection._write

    def write(self: Any, data: bytes) -> None:
        real(self, data)
        real(self, data)

    connection.Connection._write = write  # type: ignore[method-assign]


def setting_aside_replaces() -> None:
    Disk.set_aside = Disk.replace  # type: ignore[method-assign]


def one_name_for_all_that_is_moved_aside() -> None:
    recovery.free_name = lambda file: file.with_name(f"{file.name}.set-aside")


MUTANTS: dict[str, Callable[[], None]] = {
    each.__name__: each
    for each in (
        no_epoch,
        no_look_at_the_lock,
        no_look_after_the_commit,
        no_lease,
        every_reply_twice,
        setting_aside_replaces,
        one_name_for_all_that_is_moved_aside,
    )
}

if name := os.environ.get("MUTANT"):
    MUTANTS[name]()
