"""Sync by sync: which proof fails without it, and of which syncs none does.

`SYNCS` names for each the proof that must turn red.  `GREEN` and `ELSEWHERE` are the others, so
that nobody takes them for proved.  Together they are every place at which sqlqueue syncs.
What is not here: guards of other kinds (`test_crash_mutations.py`), syncs of SQLite's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from crash_proof import Broken, Workshop, workshop
from crash_scenarios import ALL, Scenario
from power import POLICIES
from unsynced import Site, SyncingDisk, site, sites

from sqlqueue.errors import HomeError

SCENARIOS = {each.name: each for each in ALL}
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
    "keys.py _create: write: fsync": (losing_power, "a new home", "holds no certificate"),
    "store/csv_file.py append: fsync": (losing_power, "further results", "for a person|rows of"),
    "store/csv_file.py _write_new: fsync": (losing_power, "a new metric", "taken for a person's"),
    "store/directories.py _mark: make_folders: fsync_dir": (losing_power, "init", "0 rows of"),
    "store/directories.py _mark: write_beside: fsync": (losing_power, "init", "is torn"),
    "store/recovery.py _move: set_aside: fsync_dir": (
        losing_power,
        "a file before the first result",
        "lost what a person wrote",
    ),
    "store/recovery.py _salvage_tail: fsync_dir": (
        recovering_without_power,
        "a CSV extended",
        "lost what a person wrote",
    ),
    "store/recovery.py _salvage_tail: write_beside: fsync": (
        losing_power,
        "a CSV extended",
        "lost what a person wrote",
    ),
    "store/recovery.py _salvage_tail: write_beside: fsync_dir": (
        losing_power,
        "a CSV extended",
        "lost what a person wrote",
    ),
    "store/rewriting.py _take_place: fsync_dir": (losing_power, "the first result", "whole rows"),
    "unsubmitted.py write: write_beside: fsync": (losing_power, "an absent manager", "is torn"),
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
}
"""A sync, and the proof that fails without it."""

GREEN = {
    "home.py _identify: write_beside: fsync_dir",
    "home.py create: fsync_dir",
    "keys.py _create: fsync_dir",
    "keys.py _create: set_aside: fsync_dir",
    "store/csv_file.py cut: fsync",
    "store/directories.py _mark: write_beside: fsync_dir",
    "store/engine.py open_writer: fsync_dir",
    "store/recovery.py _move: fsync_dir",
    "unsubmitted.py remove: fsync_dir",
    "unsubmitted.py write: make_folders: fsync_dir",
    "unsubmitted.py write: write_beside: fsync_dir",
}
"""The power is lost around these too, and no proof turns red without one of them: either it is
not needed, or the proofs do not see why it is."""

ELSEWHERE = {
    "doctor/probe.py _one_sync: fsync",
    "doctor/probe.py _sync_folder: fsync_dir",
    "home_lock.py _write_note: fsync",
    "keys.py rotate: write_beside: fsync",
    "keys.py rotate: write_beside: fsync_dir",
    "manager/server.py _open: write_beside: fsync",
    "manager/server.py _open: write_beside: fsync_dir",
    "manager/server.py _stay_named: write_beside: fsync",
    "manager/server.py _stay_named: write_beside: fsync_dir",
    "store/backup.py _name: fsync_dir",
    "store/backup.py _name: set_aside: fsync_dir",
    "store/backup.py snapshot: fsync",
    "store/engine.py _make_log_durable: write_again: fsync",
    "store/detaching.py _take_place: fsync",
    "store/detaching.py _take_place: fsync_dir",
    "store/directories.py _move_aside: fsync_dir",
    "store/directories.py _move_aside: set_aside: fsync_dir",
    "store/rebuilding.py finish: fsync_dir",
    "store/rebuilding.py finish: set_aside: fsync_dir",
    "store/rebuilding.py put_in_place: fsync",
    "store/rebuilding.py put_in_place: fsync_dir",
    "store/recovery.py _put_back: fsync_dir",
    "store/recovery.py _put_back: set_aside: fsync_dir",
    "worker/outcome.py _moved: make_folders: fsync_dir",
    "worker/outcome.py _moved: write_beside: fsync",
    "worker/outcome.py _moved: write_beside: fsync_dir",
    "worker/place.py remote: make_folders: fsync_dir",
}
"""No proof loses the power around these, so none turns red without one of them; but for that of
a log, which `campaign/test_power_cuts.py` proves."""


def test_every_sync_is_listed() -> None:
    listed = [*SYNCS, *GREEN, *ELSEWHERE]
    assert Counter(listed) == Counter(map(str, sites()))


@pytest.mark.crash
@pytest.mark.timeout(600)
def test_every_sync_that_is_said_to_be_met_is_met(shop: Workshop, monkeypatch: Patch) -> None:
    reached: Counter[Site] = Counter()
    monkeypatch.setattr(shop, "real", lambda platter: SyncingDisk(platter, reached, None))
    for scenario in ALL:
        stills, _ = shop.film(scenario)
        shop.film_recovery(stills[len(stills) // 2])
    met = {str(each) for each in reached if each.function != "a scenario"}
    assert met <= {*SYNCS, *GREEN}
    assert met >= GREEN


@pytest.mark.crash
@pytest.mark.timeout(600)
@pytest.mark.parametrize("sync", SYNCS)
def test_without_this_sync_the_proof_fails(shop: Workshop, monkeypatch: Patch, sync: str) -> None:
    proof, name, red = SYNCS[sync]
    monkeypatch.setattr(shop, "real", without(site(sync)))
    monkeypatch.setattr(shop, "settled", set())
    with pytest.raises((Broken, HomeError), match=red) as found:
        proof(shop, SCENARIOS[name])
    print(f"{sync}: {proof.__name__}, {name}: {found.value}")


def without(left_out: Site | None) -> Any:
    return lambda platter: SyncingDisk(platter, Counter(), left_out)
