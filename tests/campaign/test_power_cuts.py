"""The power of a real disk is cut while managers and workers write to it, database included.

Two clients and a worker work under a manager on a filesystem that forgets what was not synced
(`forgetful.py`).  At a random moment nothing is done any more, everybody is gone, and the disk
comes back with what was durable, and of the rest what a filesystem may have written by itself.
Before anything is recovered each row for which a client has its ack, or of which the manager
said that it is saved, stands whole in every CSV; so it does after the recovery, and at the end
everything has been done and `verify` is clean.

Twice: as a filesystem that hosts share (SQLite with a rollback journal), and as a disk of this
machine (with a log).  A disk that lies about its syncs is found out.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from doomed import machine
from ledger import CSV, Broken, Ledger, metrics
from tally import count


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


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut(tmp_path: Path, kind: str) -> None:
    with machine(tmp_path, 1, local=KINDS[kind]) as made:
        made.live(8, workers=0)
        made.live(4, workers=0)


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
