"""Sync by sync: which proof fails without it, and of which syncs none does.

`SYNCS` names for each the proof that must turn red.  `GREEN` and `ELSEWHERE` are the others, and
say why, so that nobody takes them for proved.  Together they are every place at which sqlqueue
syncs.
What is not here: guards of other kinds (`test_crash_mutations.py`), syncs of SQLite's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from command_scenarios import BESIDE, PLACED, SERVING
from crash_proof import Broken, Workshop, workshop
from crash_scenarios import ALL, Scenario
from power import POLICIES
from unsynced import Site, SyncingDisk, site, sites

from sqlqueue.errors import DatabaseError, HomeError

OTHERS = (*BESIDE, *PLACED, SERVING)
SCENARIOS = {each.name: each for each in (*ALL, *OTHERS)}
Patch = pytest.MonkeyPatch
Proof = Callable[[Workshop, Scenario], None]


@pytest.fixture(scope="module")
def shop() -> Iterator[Workshop]:
    with workshop() as made:
        for name in ("fresh", "stocked"):
            made.template(name)
        yield made


def losing_power(shop: Workshop, scenario: Scenario) -> None:
    shop.loses_power(scenario)


def recovering_without_power(shop: Workshop, scenario: Scenario) -> None:
    shop.loses_power_in_recovery(scenario, POLICIES)


SYNCS: dict[str, tuple[Proof, str, str]] = {
    "home.py _identify: write_beside: fsync": (losing_power, "a new home", "is torn"),
    "home.py _identify: write_beside: fsync_dir": (losing_power, "a worker elsewhere", "was kept"),
    "home.py create: fsync_dir": (losing_power, "new secrets", "what was told is no secret"),
    "keys.py _create: write: fsync": (losing_power, "a new home", "holds no certificate"),
    "keys.py rotate: write_beside: fsync": (
        losing_power,
        "other secrets",
        "what was told is no secret",
    ),
    "keys.py rotate: write_beside: fsync_dir": (
        losing_power,
        "other secrets",
        "what was told is no secret",
    ),
    "manager/server.py _note_where: write_beside: fsync": (
        losing_power,
        "a manager that listens",
        "is torn",
    ),
    "store/backup.py _name: fsync_dir": (
        losing_power,
        "a backup in another's place",
        "lacks results",
    ),
    "store/backup.py snapshot: fsync": (losing_power, "a backup", "is not whole"),
    "store/csv_file.py append: fsync": (losing_power, "further results", "for a person|rows of"),
    "store/csv_file.py _write_new: fsync": (losing_power, "a new metric", "taken for a person's"),
    "store/detaching.py _take_place: fsync": (losing_power, "a take-over", "is empty"),
    "store/detaching.py _take_place: fsync_dir": (losing_power, "a take-over", "is damaged"),
    "store/directories.py _mark: make_folders: fsync_dir": (losing_power, "init", "0 rows of"),
    "store/directories.py _mark: write_beside: fsync": (losing_power, "init", "is torn"),
    "store/directories.py _mark: write_beside: fsync_dir": (
        losing_power,
        "init that moves aside",
        "a disk that is not mounted",
    ),
    "store/directories.py _move_aside: set_aside: fsync_dir": (
        losing_power,
        "init that moves aside",
        "lost what a person wrote",
    ),
    "store/rebuilding.py finish: fsync_dir": (
        losing_power,
        "recovering from a backup",
        "has a row of",
    ),
    "store/rebuilding.py finish: set_aside: fsync_dir": (
        losing_power,
        "recovering from a backup",
        "lost what a person wrote",
    ),
    "store/recovery.py _move: set_aside: fsync_dir": (
        losing_power,
        "a file before the first result",
        "lost what a person wrote",
    ),
    "store/recovery.py _keep: fsync_dir": (
        recovering_without_power,
        "a CSV extended",
        "lost what a person wrote",
    ),
    "store/recovery.py _keep: write_beside: fsync": (
        losing_power,
        "a CSV extended",
        "lost what a person wrote",
    ),
    "store/recovery.py _keep: write_beside: fsync_dir": (
        losing_power,
        "a CSV extended",
        "lost what a person wrote",
    ),
    "store/rewriting.py _take_place: fsync_dir": (losing_power, "the first result", "whole rows"),
    "unsubmitted.py write: make_folders: fsync_dir": (
        losing_power,
        "a result that is refused",
        "was kept",
    ),
    "unsubmitted.py write: write_beside: fsync": (losing_power, "an absent manager", "is torn"),
    "unsubmitted.py write: write_beside: fsync_dir": (
        losing_power,
        "a result that is refused",
        "was kept",
    ),
    "worker/outcome.py _moved: make_folders: fsync_dir": (
        losing_power,
        "a large metric",
        "what was measured",
    ),
    "worker/outcome.py _moved: write_beside: fsync": (losing_power, "a large metric", "is torn"),
    "worker/outcome.py _moved: write_beside: fsync_dir": (
        losing_power,
        "a large metric",
        "what was measured",
    ),
    "worker/outcome.py write: make_folders: fsync_dir": (
        losing_power,
        "an absent manager",
        "was kept",
    ),
    "worker/outcome.py write: write_beside: fsync": (losing_power, "an absent manager", "is torn"),
    "worker/outcome.py write: write_beside: fsync_dir": (
        losing_power,
        "an absent manager",
        "was kept",
    ),
    "worker/place.py remote: make_folders: fsync_dir": (
        losing_power,
        "a worker elsewhere",
        "was kept",
    ),
}
"""A sync, and the proof that fails without it."""

GREEN = {
    "keys.py _create: fsync_dir": (
        "the one in `set_aside` comes before; this one is for what another creator named"
    ),
    "keys.py _create: set_aside: fsync_dir": (
        "another of the same folder comes before anybody is told"
    ),
    "manager/server.py _note_where: write_beside: fsync_dir": (
        "whoever listened there died with the power: no file is the truth"
    ),
    "store/backup.py _name: set_aside: fsync_dir": (
        "what could be lost before the next one is a copy that nobody was told of"
    ),
    "store/csv_file.py cut: fsync": (
        "a tail that comes back is cut off once more; the next append syncs both"
    ),
    "store/directories.py _move_aside: fsync_dir": (
        "a file that has its old name too is moved aside once more"
    ),
    "store/engine.py open_writer: fsync_dir": (
        "SQLite syncs the folder when it makes a log or a journal in it"
    ),
    "store/rebuilding.py put_in_place: fsync": (
        "SQLite has synced what it committed; not to depend on how it was built"
    ),
    "store/recovery.py _move: fsync_dir": (
        "a file that has its old name too is moved aside once more"
    ),
    "store/recovery.py _put_back: fsync_dir": "a file that has both names is no loss",
    "store/recovery.py _put_back: set_aside: fsync_dir": (
        "since it was moved, the file has both names on the disk"
    ),
    "unsubmitted.py remove: fsync_dir": (
        "a result that comes back is handed in again, and stored once"
    ),
    "worker/machine.py _kept: fsync": "the id is of this boot too: another makes other names",
}
"""The power is lost around these too, and no proof turns red without one of them: why."""

ELSEWHERE = {
    "doctor/probe.py _one_sync: fsync": "measures how long a sync takes",
    "doctor/probe.py _sync_folder: fsync_dir": "asks whether folders can be synced",
    "home_lock.py _write_note: fsync": "for another host to read; who holds a lock dies with it",
    "store/engine.py _make_log_durable: write_again: fsync": "`campaign/test_power_cuts.py` has it",
    "store/unlinking.py move_folder: fsync_dir": "`test_unlink.py` looks at the order",
    "store/unlinking.py move_folder: make_folders: fsync_dir": "`test_unlink.py` too",
    "store/unlinking.py unmark: fsync_dir": "the same command removes a marker that comes back",
    "worker/program.py _filled: make_folders: fsync_dir": "what a command reads while it runs",
    "worker/program.py _filled: write_beside: fsync": "the attempt is over when the power is gone",
    "worker/program.py _filled: write_beside: fsync_dir": "the attempt is over then, as above",
}
"""No proof here loses the power around these: why nothing depends on them, or which does."""


def test_every_sync_is_listed() -> None:
    listed = [*SYNCS, *GREEN, *ELSEWHERE]
    assert Counter(listed) == Counter(map(str, sites()))


@pytest.mark.crash
@pytest.mark.timeout(600)
def test_every_sync_that_is_said_to_be_met_is_met(shop: Workshop, monkeypatch: Patch) -> None:
    reached: Counter[Site] = Counter()
    monkeypatch.setattr(shop, "real", lambda platter: SyncingDisk(platter, reached, None))
    for scenario in (*ALL, *OTHERS):
        stills, _ = shop.film(scenario)
        if scenario in ALL:
            shop.film_recovery(stills[len(stills) // 2])
    met = {str(each) for each in reached if each.function != "a scenario"}
    assert met == {*SYNCS, *GREEN}


@pytest.mark.crash
@pytest.mark.timeout(600)
@pytest.mark.parametrize("sync", SYNCS)
def test_without_this_sync_the_proof_fails(shop: Workshop, monkeypatch: Patch, sync: str) -> None:
    proof, name, red = SYNCS[sync]
    monkeypatch.setattr(shop, "real", without(site(sync)))
    monkeypatch.setattr(shop, "settled", set())
    with pytest.raises((Broken, HomeError, DatabaseError), match=red) as found:
        proof(shop, SCENARIOS[name])
    print(f"{sync}: {proof.__name__}, {name}: {found.value}")


def without(left_out: Site | None) -> Any:
    return lambda platter: SyncingDisk(platter, Counter(), left_out)
