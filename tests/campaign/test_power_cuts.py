"""The power of a real disk is cut while managers and workers write to it, database included.

Two clients and a worker work under a manager on a filesystem that forgets what was not synced
(`forgetful.py`).  At a random moment nothing is done any more, everybody is gone, and the disk
comes back with what was durable, and of the rest what a filesystem may have written by itself.
Before anything is recovered each row for which a client has its ack, or of which the manager
said that it is saved, stands whole in every CSV; so it does after the recovery, and at the end
everything has been done and `verify` is clean.

Twice: as a filesystem that hosts share (SQLite with a rollback journal), and as a disk of this
machine (with a log).  A disk that lies about its syncs is found out.  One whose syncs fail has
forgotten what it was to make durable, and the next one says that all is well.
"""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path
from typing import Any

import pytest
from crew import Threads
from doomed import Machine, machine
from ledger import CSV, Broken, Ledger, metrics
from tally import count

from support import later


def test_only_what_nobody_was_promised_may_be_torn(tmp_path: Path) -> None:
    """The check itself: where the power went, in an append that was not synced."""
    file = tmp_path / CSV
    lines = [",".join(["seed", *metrics(0, "a")])]
    lines += [",".join(map(str, [each, *metrics(each, "a").values()])) for each in range(4)]
    torn = [*lines[:3], "\0" * 9, lines[4]]
    file.write_text("\n".join([*torn, ""]))
    ledger = Ledger(tmp_path)
    ledger.ack(1, ["."])
    assert ledger.check(recovered=False) == 2
    with pytest.raises(Broken, match="a torn row"):
        ledger.check()
    ledger.ack(3, ["."])
    with pytest.raises(Broken, match=r"acked but not in the CSV: \[3\]"):
        ledger.check(recovered=False)


KINDS = {"shared": False, "local": True}
SOON = ["shared", *later("local")]


@pytest.mark.parametrize("kind", SOON)
def test_a_cut(tmp_path: Path, kind: str) -> None:
    with machine(tmp_path, 1, local=KINDS[kind]) as made:
        made.live(8, workers=0)
        recovered(made)


@pytest.mark.crash
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", KINDS)
def test_a_hundred_cuts(tmp_path: Path, kind: str) -> None:
    seed = int(os.environ.get("CAMPAIGN_SEED", "2"))
    with machine(tmp_path, seed, local=KINDS[kind]) as made:
        while made.disk.cuts < 60:
            if made.chance.random() < 0.8:
                made.live(made.chance.randrange(60))
            else:
                made.die_early(made.chance.uniform(0.0, 1.2))
        made.finish()
        count("cuts after which something was forgotten", made.forgot)
        count("acks", made.ledger.heard())
        assert made.forgot > 10
        assert len(made.ledger.acked) > 500


@pytest.mark.crash
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", KINDS)
def test_cuts_after_errors(tmp_path: Path, kind: str) -> None:
    seed = int(os.environ.get("CAMPAIGN_SEED", "4"))
    with machine(tmp_path, seed, local=KINDS[kind]) as made:
        made.ailing = True
        while made.disk.cuts < 30:
            made.live(made.chance.randrange(60))
        made.finish()
        count("acks", made.ledger.heard())


def recovered(made: Machine) -> None:
    manager = made.start(workers=0)
    assert made.crew.listens(manager, 60.0), made.crew.said()[-3000:]
    made.look("recovered")


def submitted_while_syncs_fail(made: Machine, after: int, times: int) -> int:
    """A result is submitted until it is acked, and then the power is gone at once.

    So many syncs of the database are done, so many fail; returns how many did.
    """
    recovered(made)
    task, further = (made.ask({"type": "request_task", "worker_id": each}) for each in "ab")
    submit(made, task)  # it makes the CSVs: more commits than one
    made.disk.fail("fsync", "queue.db*", errno.EIO, times, after)
    submit(made, further)
    met = made.disk.met()
    made.cut(Threads())
    return met


def submit(made: Machine, task: dict[str, Any]) -> None:
    """As often as it takes."""
    result = {"task_id": task["task_id"], "result_data": metrics(task["seed"], "w")}
    for _ in range(20):
        answer = made.ask({"type": "submit_result", "worker_id": "w", **result})
        if answer == {"type": "ack"}:
            made.ledger.ack(task["seed"], task["output_dirs"])
            return
        assert answer["retryable"], answer
    raise AssertionError(f"never acked: {made.crew.said()[-3000:]}")


FAILED = {"shared": (3, 1), "local": (0, 2)}
"""The journal is emptied, and that is not durable; a commit is not durable, nor is its log when
the database is closed after that.  What was to be undone is then read back as committed."""


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_read_back_after_a_failed_sync_is_durable(tmp_path: Path, kind: str) -> None:
    after, times = FAILED[kind]
    with machine(tmp_path, 5, local=KINDS[kind]) as made:
        made.policies = ("nothing unsynced",)
        assert submitted_while_syncs_fail(made, after, times) == times
        recovered(made)
        made.crew.cli.ok("verify")


@pytest.mark.crash
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
def test_whichever_syncs_fail(tmp_path: Path, kind: str) -> None:
    with machine(tmp_path, 6, local=KINDS[kind]) as made:
        made.policies = ("nothing unsynced",)
        for after, times in itertools.product(range(5), range(1, 6)):
            count("injected errors", submitted_while_syncs_fail(made, after, times))
        made.finish()


LIES = {
    "the database": ("queue.db*", "recovered"),
    "CSVs": ("*final_results.csv*", "before the recovery"),
    "folders": ("*/", "before the recovery"),
}
"""Whose syncs the disk answers without doing them, and when that is seen."""


@pytest.mark.crash
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", LIES)
def test_a_disk_that_lies_is_found_out(tmp_path: Path, what: str, kind: str) -> None:
    """The proof is worth something: without these syncs results are lost, and it says so."""
    names, when = LIES[what]
    with machine(tmp_path, 3, local=KINDS[kind], lie=names) as made:
        made.policies = ("nothing unsynced",)
        with pytest.raises(Broken, match=f"{when}: .*: acked but not in the CSV") as found:
            while made.disk.cuts < 20:
                made.live(20, workers=0)
        print(f"a lie about {what}: {str(found.value).splitlines()[0]}")
