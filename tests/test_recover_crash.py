"""`recover` dies at every disk call and commit: run again, it ends as if it had not died.

Between the two a manager may have been started: it is refused, or does no harm.  What is not
here: what a recovery finds (`test_recover.py`).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from crash_proof import deaths
from faults import ERRORS, FaultyDisk, Plan, faulty_commits, in_a_child
from lost_queue import Lost, garbage, in_memory, no_database, no_home
from tally import count

from sqlqueue.disk import Disk
from sqlqueue.errors import DatabaseError, HomeError, QueueError
from sqlqueue.manager.local import open_local
from sqlqueue.progress import shown
from sqlqueue.recovering import Wish, recover
from sqlqueue.store import backup


@dataclass
class Shop:
    """A queue in a small folder, its results, and a backup older than some of them."""

    root: Path
    original: Lost
    results: set[str]

    def lost(self, name: str, lose: Callable[[Lost], None]) -> Lost:
        queue = self.original.copy(self.root / name)
        lose(queue)
        return queue


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    with in_memory() as folder:
        queue = Lost.made(folder / "original", "dying_trial", seeds=1)
        queue.submit(0.4)
        backup.back_up(
            queue.home.database,
            queue.root / "backup.db",
            force=False,
            disk=Disk(),
            advance=lambda _now, _all: None,
        )
        queue.submit(0.6, seed=5)
        yield Shop(folder, queue, results_of(queue))


def results_of(queue: Lost) -> set[str]:
    return {key for (key,) in queue.query("SELECT signature FROM results WHERE accepted")}


def edited(queue: Lost) -> None:
    """The database is gone, one CSV has lost its last line, another is gone, one has a remark."""
    no_database(queue)
    file = queue.csv("two")
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:-1]))
    queue.csv("three").unlink()
    with queue.csv("results one/é").open("ab") as lines:
        lines.write(b"a remark of mine\n")


CASES = {
    "gone": (no_home, True, False),
    "damaged": (garbage, True, False),
    "a backup": (no_database, False, True),
    "edited": (edited, True, True),
}
"""What is lost, whether sweep files are named, whether the backup is."""


def work(queue: Lost, files: bool, old: bool, disk: Disk) -> None:
    wish = Wish(queue.files if files else [], queue.root / "backup.db" if old else None)
    recover(queue.home, wish, lambda _total, _what: shown(0), disk)


def calls(shop: Shop, case: str) -> list[tuple[str, str]]:
    lose, files, old = CASES[case]
    queue, plan = shop.lost("counted", lose), Plan()
    with faulty_commits(plan):
        work(queue, files, old, FaultyDisk(plan))
    settled(shop, queue, case)
    return plan.calls


def settled(shop: Shop, queue: Lost, case: str) -> None:
    """Everything is there: results, CSVs, what a person wrote; nothing is left lying about."""
    queue.clean()
    found = results_of(queue)
    if case != "edited":
        assert found == shop.results
        assert queue.csvs() == shop.original.csvs()
    else:
        assert len(found) >= 2
        remark = [each for each in queue.root.rglob("*") if each.is_file()
                  and b"a remark of mine" in each.read_bytes()]  # fmt: skip
        assert remark
    left = [each.name for each in queue.home.path.iterdir() if ".part" in each.name]
    assert left == []
    assert not queue.home.recovered.exists()
    shutil.rmtree(queue.root)


def dies(shop: Shop, case: str, at: int, mode: str, *, serve: bool) -> None:
    lose, files, old = CASES[case]
    queue = shop.lost(f"{case} {at} {mode}", lose)
    plan = Plan(at, mode)

    def child(_tell: object) -> None:
        with faulty_commits(plan):
            work(queue, files, old, FaultyDisk(plan))

    assert in_a_child(child).killed
    count("kills")
    if serve:
        with suppress(DatabaseError, HomeError):
            queue.home.queue_id()
            with open_local(queue.home):
                pass
    work(queue, files, old, Disk())
    count("recoveries")
    settled(shop, queue, case)


SOME = [pytest.param(each, marks=[pytest.mark.slow] if at else []) for at, each in enumerate(CASES)]
"""The others take their ten seconds each in the long run."""


@pytest.mark.parametrize("case", SOME)
def test_a_death_here_and_there(shop: Shop, case: str) -> None:
    points = deaths(calls(shop, case))[:-1]  # the last comes after all of them
    for number, (at, mode) in enumerate(points[:: len(points) // 6]):
        dies(shop, case, at, mode, serve=number % 2 == 0)


@pytest.mark.crash
@pytest.mark.parametrize("serve", [False, True], ids=["at once", "after a manager"])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.timeout(1200)
def test_a_death_at_every_call(shop: Shop, case: str, serve: bool) -> None:
    for at, mode in deaths(calls(shop, case))[:-1]:
        if mode != "at the end":
            dies(shop, case, at, mode, serve=serve)


@pytest.mark.crash
@pytest.mark.parametrize("mode", ERRORS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.timeout(1200)
def test_an_error_at_every_call(shop: Shop, case: str, mode: str) -> None:
    lose, files, old = CASES[case]
    for at in range(1, len(calls(shop, case)) + 1):
        queue, plan = shop.lost(f"{case} {at} {mode}", lose), Plan(at, mode)
        with suppress(QueueError, OSError), faulty_commits(plan):
            work(queue, files, old, FaultyDisk(plan))
        count("injected errors")
        work(queue, files, old, Disk())
        count("recoveries")
        settled(shop, queue, case)
