"""The proof is worth something: with any one guard taken away, it fails.

Each row of `GUARDS` takes one away, and names the proof that must turn red without it.  What is
not here: syncs, one by one (`test_crash_syncs.py`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from crash_proof import Broken, Workshop, errors, workshop
from crash_scenarios import ALL, Scenario
from faults import FaultyDisk
from sqlalchemy import Connection

from sqlqueue import protocol
from sqlqueue.disk import Disk
from sqlqueue.manager import committer, taking_in
from sqlqueue.manager.committer import Committer
from sqlqueue.manager.intake import Intake
from sqlqueue.manager.session import Session
from sqlqueue.store import csv_file, records
from sqlqueue.store.csv_file import look_of
from sqlqueue.store.outputs import Outputs
from sqlqueue.store.recovery import Mender
from sqlqueue.store.replacing import Prepared, Replacer
from sqlqueue.worker.delivery import Delivery

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
    """Every death, as a film of it shows the disk."""
    stills, texts = shop.film(scenario)
    for still in stills:
        shop.settle(still.room, scenario, texts, still.told)


def failing(shop: Workshop, scenario: Scenario) -> None:
    for mode in ("EIO", "torn", "late"):
        for at in errors(shop.calls(scenario)):
            shop.fails(scenario, at, mode)


# --- guards -----------------------------------------------------------------------------


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
    def move(mender: Mender, file: Path, _target: Path, _look: str) -> None:
        mender.disk.unlink(file)

    patch.setattr(Mender, "_move", move)


def no_note_before_a_rewrite(_shop: Workshop, patch: Patch) -> None:
    def forgetful(_: Mender, _transaction: Any, wanted: Any, written: Any) -> Any:
        return {key: wanted[key].record for key in written}

    patch.setattr(Mender, "_note_intents", forgetful)


def no_idempotence(_shop: Workshop, patch: Patch) -> None:
    patch.setattr(taking_in, "_known", lambda *_: False)


class AcksFirst(Session):
    """Answers, and commits when it next begins something."""

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
    patch.setattr(committer, "Session", AcksFirst)


def no_doubt_after_a_failure(_shop: Workshop, patch: Patch) -> None:
    """A failed sync is believed to have been none: the file is as it was."""
    patch.setattr(Outputs, "_doubt", lambda outputs, key: outputs._due.setdefault(key, ()))
    patch.setattr(Outputs, "_looks_right", lambda *_: True)


def a_failed_sync_tried_again(_shop: Workshop, patch: Patch) -> None:
    """And believed: by then the kernel has dropped what it could not write."""
    real = FaultyDisk.fsync

    def fsync(disk: FaultyDisk, fd: int) -> None:
        try:
            real(disk, fd)
        except OSError:
            size = os.fstat(fd).st_size
            os.truncate(f"/proc/self/fd/{fd}", size - 1)
            os.truncate(f"/proc/self/fd/{fd}", size)

    patch.setattr(FaultyDisk, "fsync", fsync)


def an_error_taken_for_an_ack(_shop: Workshop, patch: Patch) -> None:
    """A full disk, or a commit that failed, answered as if all were well."""
    patch.setattr(
        Committer,
        "_refused",
        staticmethod(lambda jobs, _error: [(job, protocol.Ack()) for job in jobs]),
    )


def unsubmitted_removed_before_the_ack(_shop: Workshop, patch: Patch) -> None:
    real = Delivery.flush

    def flush(delivery: Delivery, client: Any) -> bool:
        for each in delivery._snapshot():
            delivery._delivered(each)
        return real(delivery, client)

    patch.setattr(Delivery, "flush", flush)


def intake_removes_first(_shop: Workshop, patch: Patch) -> None:
    real = Intake.jobs

    def jobs(intake: Intake, asked: Committer) -> Any:
        found = real(intake, asked)
        intake.settle([(each, protocol.Ack()) for each in found])
        return found

    patch.setattr(Intake, "jobs", jobs)


def an_outcome_read_before_it_is_whole(_shop: Workshop, patch: Patch) -> None:
    """Written under its own name from the start, not beside."""

    def write_beside(disk: Disk, path: Path, data: bytes, mode: int = 0o666) -> None:
        with suppress(FileNotFoundError):
            disk.unlink(path)
        disk.write(path, data, mode)
        disk.fsync_dir(path.parent)

    patch.setattr(Disk, "write_beside", write_beside)


def no_look_before_an_append(_shop: Workshop, patch: Patch) -> None:
    patch.setattr(Outputs, "_looks_right", lambda *_: True)
    patch.setattr(csv_file, "look_of", lambda _status: "")


def one_directory_not_recovered(_shop: Workshop, patch: Patch) -> None:
    real = Outputs.recover
    patch.setattr(
        Outputs,
        "recover",
        lambda o, t, key, columns=(): (
            True if key == 1 and not columns else real(o, t, key, columns)
        ),
    )
    patch.setattr(csv_file, "append", _append_blindly)


def _append_blindly(disk: Disk, path: Path, record: Any, data: bytes, rows: int) -> Any:
    with path.open("ab") as file:
        disk.append(file.fileno(), data)
        disk.fsync(file.fileno())
    made = replace(record, row_count=record.row_count + rows)
    return replace(
        made,
        length_bytes=record.length_bytes + len(data),
        checksum=csv_file.extend(record.checksum, data),
        look=csv_file.look_at(disk, path),
    )


def every_row_is_new(_shop: Workshop, patch: Patch) -> None:
    """A result for a task that has a row is appended as any other."""
    patch.setattr(records, "standing", lambda *_: set())


def no_note_before_a_row_is_replaced(_shop: Workshop, patch: Patch) -> None:
    def forgetful(_: Replacer, _transaction: Any, wanted: Any, written: Any) -> Any:
        return {key: wanted[key].record for key in written}

    patch.setattr(Replacer, "_note_intents", forgetful)
    patch.setattr(Prepared, "is_for", lambda *_: True)


Proof = Callable[[Workshop, Scenario], None]
GUARDS: list[tuple[Callable[[Workshop, Patch], None], Proof, str, str]] = [
    (no_cut_back, dying, "further results", "goes on after its last row"),
    (ownership_by_length_alone, dying, "a CSV in_another_order", "line 2"),
    (no_salvage, dying, "a CSV extended", "lost what a person wrote"),
    (no_moving_aside, dying, "a CSV replaced", "lost what a person wrote"),
    (no_note_before_a_rewrite, dying, "a new metric", "taken for a person's"),
    (no_idempotence, dying, "further results", "stored twice"),
    (ack_before_commit, dying, "further results", "is not in|rows of"),
    (an_error_taken_for_an_ack, failing, "further results", "0 rows of"),
    (no_doubt_after_a_failure, failing, "further results", "goes on after its last row"),
    (a_failed_sync_tried_again, failing, "further results", "final_results.csv"),
    (unsubmitted_removed_before_the_ack, dying, "an absent manager", "was kept"),
    (intake_removes_first, dying, "files left by workers", "0 rows of 4"),
    (an_outcome_read_before_it_is_whole, dying, "a new home", "is torn"),
    (no_look_before_an_append, dying, "a CSV replaced", "line 1, is"),
    (one_directory_not_recovered, dying, "a CSV in_another_order", "line 2"),
    (every_row_is_new, dying, "a row replaced", "rows of 0|numbered up to"),
    (no_note_before_a_row_is_replaced, dying, "a row replaced", "taken for a person's"),
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
    with pytest.raises(Broken, match=red) as found:
        proof(shop, SCENARIOS[name])
    print(f"{guard.__name__}: {proof.__name__}, {name}: {found.value}")


OTHERS = {
    "no_epoch": ("test_verbs_takeover.py", "DID NOT RAISE EpochLost"),
    "no_look_at_the_lock": ("test_takeover_pauses.py", "it_writes_to_nowhere"),
    "no_look_after_the_commit": (
        "test_takeover_pauses.py::test_from_another_host_at_every_call",
        "it acked what it wrote to nowhere",
    ),
    "no_lease": ("test_verbs.py", "LOST"),
    "every_reply_twice": ("test_server.py", "AssertionError"),
    "setting_aside_replaces": (
        "test_recovery_hands.py::test_a_name_that_somebody_else_takes_first_stays_theirs",
        "lost what a person wrote: b'theirs'",
    ),
    "one_name_for_all_that_is_moved_aside": (
        "test_recovery_hands.py::test_what_is_moved_aside_in_the_same_second_is_all_kept",
        "<class 'sqlqueue.protocol.Error'>",
    ),
}
"""Guards whose proofs are tests of their own (`mutant.py`): which, and what they then say."""


@pytest.mark.crash
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", OTHERS)
def test_without_this_guard_its_tests_fail(name: str) -> None:
    where, red = OTHERS[name]
    tests = Path(__file__).parent
    which = "crash or not crash" if "::" in where else "not crash"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "mutant", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-m", which, "--tb=short", str(tests / where)],
        env=os.environ | {"MUTANT": name, "PYTHONPATH": str(tests)},
        cwd=tests.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert red in done.stdout, done.stdout
    failed = [each for each in done.stdout.splitlines() if each.startswith("FAILED")]
    print(f"{name}: {len(failed)} tests fail, the first: {failed[0]}")
