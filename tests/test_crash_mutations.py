"""The proof is worth something: with any one guard taken away, it fails.

Each row of `GUARDS` takes one away, and names the proof that must turn red without it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from crash_proof import Broken, Workshop, deaths, workshop
from crash_scenarios import ALL, Scenario
from power import POLICIES, NoSyncOfCsv, NoSyncOfNames, NoSyncOfNewFiles
from sqlalchemy import Connection

from sqlqueue.disk import Disk
from sqlqueue.manager import committer, taking_in
from sqlqueue.manager.session import Session
from sqlqueue.store import csv_file
from sqlqueue.store.csv_file import look_of
from sqlqueue.store.recovery import Mender

Patch = pytest.MonkeyPatch
SCENARIOS = {each.name: each for each in ALL}


@pytest.fixture(scope="module")
def shop() -> Iterator[Workshop]:
    with workshop() as made:
        for name in ("fresh", "stocked"):
            made.template(name)
        yield made


# --- proofs -----------------------------------------------------------------------------


def dying(shop: Workshop, scenario: Scenario) -> None:
    for at, mode in deaths(shop.calls(scenario)):
        shop.dies(scenario, at, mode)


def losing_power(shop: Workshop, scenario: Scenario) -> None:
    for policy in POLICIES:
        for at, mode in reversed(deaths(shop.calls(scenario))):
            shop.loses_power(scenario, at, mode, policy)


# --- guards -----------------------------------------------------------------------------


def no_sync_of_the_append(shop: Workshop, _patch: Patch) -> None:
    shop.real = NoSyncOfCsv


def no_sync_of_names(shop: Workshop, _patch: Patch) -> None:
    shop.real = NoSyncOfNames


def no_sync_before_the_rename(shop: Workshop, _patch: Patch) -> None:
    shop.real = NoSyncOfNewFiles


def no_cut_back(_shop: Workshop, patch: Patch) -> None:
    def cut(disk: Disk, path: Path, _length: int, _look: str) -> str:
        return look_of(disk.stat(path))

    patch.setattr(csv_file, "cut", cut)


def ownership_by_length_alone(_shop: Workshop, patch: Patch) -> None:
    def begins(fd: int, length_bytes: int, _checksum: str) -> bool:
        return os.fstat(fd).st_size >= length_bytes

    patch.setattr(csv_file, "_begins_with", begins)


def no_salvage(_shop: Workshop, patch: Patch) -> None:
    patch.setattr(Mender, "_salvage_tail", lambda *_: True)


def no_moving_aside(_shop: Workshop, patch: Patch) -> None:
    def move(mender: Mender, file: Path, _target: Path) -> None:
        mender.disk.unlink(file)

    patch.setattr(Mender, "_move", move)


def no_note_before_a_rewrite(_shop: Workshop, patch: Patch) -> None:
    saved: Any = Mender._saved

    def forgetful(mender: Mender, transaction: Any, key: int, record: Any, **changes: Any) -> Any:
        if "next_checksum" in changes:
            return record
        return saved(mender, transaction, key, record, **changes)

    patch.setattr(Mender, "_saved", forgetful)


def no_idempotence(_shop: Workshop, patch: Patch) -> None:
    patch.setattr(taking_in, "_known", lambda *_: False)


class LateCommits(Session):
    """Commits when it next begins something: whoever is answered before that is deceived."""

    pending: Any = None

    @contextmanager
    def begun(self) -> Iterator[Connection]:
        self._finish()
        assert self._connection is not None
        self.pending = self._connection.begin()
        yield self._connection

    def close(self) -> None:
        self._finish()
        super().close()

    def _finish(self) -> None:
        if self.pending is not None:
            self.pending.commit()
        self.pending = None


def ack_before_commit(_shop: Workshop, patch: Patch) -> None:
    patch.setattr(committer, "Session", LateCommits)


Proof = Callable[[Workshop, Scenario], None]
GUARDS: list[tuple[Callable[[Workshop, Patch], None], Proof, str, str]] = [
    (no_sync_of_the_append, losing_power, "further results", "whole rows of .* before recovery"),
    (no_sync_of_names, losing_power, "the first result", "before recovery"),
    (no_sync_before_the_rename, losing_power, "a new metric", "taken for a person's"),
    (no_cut_back, dying, "further results", "goes on after its last row"),
    (ownership_by_length_alone, dying, "a CSV in_another_order", "line 2"),
    (no_salvage, dying, "a CSV extended", "lost what a person wrote"),
    (no_moving_aside, dying, "a CSV replaced", "lost what a person wrote"),
    (no_note_before_a_rewrite, dying, "a new metric", "taken for a person's"),
    (no_idempotence, dying, "further results", "stored twice"),
    (ack_before_commit, dying, "further results", "is not in|rows of"),
]


@pytest.mark.parametrize("guard, proof, name, red", GUARDS, ids=[g[0].__name__ for g in GUARDS])
def test_without_this_guard_the_proof_fails(
    shop: Workshop,
    monkeypatch: Patch,
    guard: Callable[[Workshop, Patch], None],
    proof: Proof,
    name: str,
    red: str,
) -> None:
    shop.calls(SCENARIOS[name])
    monkeypatch.setattr(shop, "real", shop.real)
    monkeypatch.setattr(shop, "settled", set())
    guard(shop, monkeypatch)
    with pytest.raises(Broken, match=red):
        proof(shop, SCENARIOS[name])
