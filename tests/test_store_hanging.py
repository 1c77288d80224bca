"""A directory that does not answer: suspended after a time limit, the others go on, and nothing
that comes back late does harm.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from crash_proof import Workshop, agrees, query, workshop
from crash_scenarios import LINKS, MAIN, Desk, Room, cells, opened, prepare, result
from faults import FaultyDisk, Plan

from sqlqueue import protocol
from sqlqueue.protocol import Ack, Error, RepairedReply, Reply
from sqlqueue.store import lanes as lanes_
from sqlqueue.store.lanes import Hung, Lanes
from sqlqueue.store.outputs import Outputs
from support import later, wait_until

LIMIT_SECONDS = 0.3


class Hanging(Plan):
    """A plan by which the N-th call that matches does not return before `released`."""

    def __init__(self, matches: Callable[[str, str], bool], at: int = 1) -> None:
        super().__init__(begun=False)
        self.matches = matches
        self.nth = at
        self.seen = 0
        self.failing: tuple[str, str] | None = None
        self.released = threading.Event()

    def fault(self, name: str, folder: str) -> str:
        if not self.begun:
            return ""
        if (name, folder) == self.failing:
            return "EIO"
        if self.matches(name, folder):
            self.seen += 1
            if self.seen == self.nth:
                self.released.wait(30)
        return ""

    @property
    def came(self) -> bool:
        return self.seen >= self.nth


@pytest.fixture
def room() -> Iterator[Room]:
    with workshop() as shop:
        yield made(shop)


def made(shop: Workshop) -> Room:
    return shop.room(MAIN[2])[0]


def ask(desk: Desk, *cells: int, **metrics: float) -> list[Reply]:
    started = time.monotonic()
    replies = desk.say(*(result(cell, **metrics) for cell in cells))
    assert time.monotonic() - started < 60 * LIMIT_SECONDS
    return replies


def kinds(replies: list[Reply]) -> list[type[Reply]]:
    return [type(each) for each in replies]


def back(desk: Desk, plan: Hanging) -> None:
    """The disk answers again, and time passes."""
    plan.released.set()
    wait_until(lambda: not any(map(desk.committer._lanes.stuck, (1, 2))), what="the late call")
    for _ in range(6):
        desk.later()
    assert desk.committer.outputs.trouble() == {}


def limited(desk: Desk) -> Desk:
    desk.committer._lanes.limit_seconds = LIMIT_SECONDS
    desk.committer._lanes._most = 4
    return desk


def lives(room: Room, plan: Hanging, **metrics: float) -> None:
    """`b` hangs: `a` goes on; released, everything arrives."""
    with opened(room.home, FaultyDisk(plan)) as desk:
        limited(desk)
        plan.begun = True
        alone, both = ask(desk, 2, 4, **metrics)
        if plan.came:
            assert isinstance(alone, Ack)
            assert isinstance(both, Error)
            assert both.retryable
            assert kinds(ask(desk, 2, 3, **metrics)) == [Ack, Error]
        back(desk, plan)
        assert kinds(ask(desk, 2, 3, 4, **metrics)) == [Ack, Ack, Ack]
    agrees(room, {(cell, folder) for cell in (2, 3, 4) for folder in LINKS[cell]}, [])
    assert not list(room.home.salvage.iterdir())


@pytest.mark.parametrize("metrics", [{}, *later({"new": 0.5})], ids=["rows", "a new metric"])
def test_the_others_go_on_at_whichever_call_it_hangs(metrics: dict[str, float]) -> None:
    number = 1
    with workshop() as shop:
        while True:
            plan = Hanging(lambda _, folder: folder == "b", number)
            lives(made(shop), plan, **metrics)
            if not plan.came:
                break
            number += 1
    assert number > 3


def test_a_cut_that_comes_late_cannot_take_what_was_acked_meanwhile(room: Room) -> None:
    plan = Hanging(lambda name, folder: (name, folder) == ("truncate", "a"))
    plan.failing = ("fsync", "b")
    with opened(room.home, FaultyDisk(plan)) as desk:
        limited(desk)
        plan.begun = True
        replies = ask(desk, 2, 3)
        assert plan.came
        assert Error in kinds(replies)
        ask(desk, 2)
        plan.failing = None
        back(desk, plan)
        assert kinds(ask(desk, 2, 3)) == [Ack, Ack]
    agrees(room, {(2, "a"), (3, "b")}, [])


def test_repair_does_not_wait_for_a_folder_that_hangs(room: Room) -> None:
    plan = Hanging(lambda _, folder: folder == "a")
    with opened(room.home, FaultyDisk(plan)) as desk:
        limited(desk)
        plan.begun = True
        for _ in range(2):
            (reply,) = desk.say(protocol.Repair())
            assert isinstance(reply, RepairedReply)
            assert [line.split(":")[0] for line in reply.actions] == ["a"]
        back(desk, plan)
    agrees(room, set(), [])


def test_a_manager_starts_beside_a_folder_that_hangs(room: Room) -> None:
    plan = Hanging(lambda _, folder: folder == "b")
    plan.begun = True
    desk = limited(Desk(room.home, FaultyDisk(plan)))
    desk.committer.open()
    assert kinds(ask(desk, 2, 3)) == [Ack, Error]
    back(desk, plan)
    assert kinds(ask(desk, 3)) == [Ack]
    desk.committer.close()
    agrees(room, {(2, "a"), (3, "b")}, [])


class AllHanging(Plan):
    """Every call in a folder whose name begins so waits until `released`."""

    def __init__(self, prefix: str) -> None:
        super().__init__()
        self.prefix = prefix
        self.released = threading.Event()

    def fault(self, name: str, folder: str) -> str:
        if folder.startswith(self.prefix) and name in ("open", "stat"):
            self.released.wait(30)
        return ""


FOLDERS = [f"hanging{number}" for number in range(24)]


def seconds_of(act: Callable[[], object]) -> float:
    begun = time.monotonic()
    act()
    return time.monotonic() - begun


def test_many_folders_that_hang_stop_nobody_for_longer_than_one(tmp_path: Path) -> None:
    room = Room(tmp_path / "queue").empty()
    plan = AllHanging("hanging")
    plan.released.set()
    everywhere = cells({0: FOLDERS, 1: FOLDERS})
    with opened(room.home, FaultyDisk(plan)) as desk:
        limited(desk)
        desk.say(prepare(*FOLDERS))
        desk.say(everywhere)
        assert kinds(ask(desk, 0)) == [Ack]
        plan.released.clear()
        assert kinds(ask(desk, 1)) == [Error]
        assert seconds_of(lambda: desk.later(2)) < 4 * LIMIT_SECONDS
        plan.released.set()
    plan.released.clear()
    desk = limited(Desk(room.home, FaultyDisk(plan)))
    assert seconds_of(desk.committer.open) < 4 * LIMIT_SECONDS
    assert len(desk.committer.outputs.trouble()) == len(FOLDERS)
    plan.released.set()
    desk.committer.close()


def test_quick_calls_are_done_in_one_lane_and_slow_ones_side_by_side() -> None:
    lanes, together = Lanes(30.0), threading.Barrier(3)
    quick = lanes.run(dict.fromkeys(range(50), threading.get_ident))
    assert len(set(quick.values())) == 1
    met = lanes.run({key: lambda: together.wait(20) for key in range(3)})
    assert sorted(met.values()) == [0, 1, 2]
    lanes.close()


def test_a_single_call_wakes_one_lane() -> None:
    lanes, before = Lanes(30.0), set(threading.enumerate())  # of which some end meanwhile
    for _ in range(20):
        lanes.one("key", lambda: None)
    assert len(set(threading.enumerate()) - before) == 1
    lanes.close()


def test_a_lane_that_comes_back_serves_again() -> None:
    lanes, released = Lanes(0.01, most=1), threading.Event()
    before = threading.active_count()
    for _ in range(5):
        released.clear()
        with pytest.raises(Hung):
            lanes.one("key", lambda: released.wait(30))
        released.set()
        wait_until(lambda: not lanes.stuck("key"), what="the late call")
        lanes.one("other", lambda: None, extra_seconds=30)
    assert threading.active_count() <= before + 1
    lanes.close()


def test_what_hangs_is_told_before_it_is_given_up(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes_, "SLOW_SECONDS", 0.0)
    plan = Hanging(lambda _, folder: folder == "b")
    with opened(room.home, FaultyDisk(plan)) as desk:
        desk.committer._lanes.limit_seconds = 30.0
        plan.begun = True
        outputs = desk.committer.outputs
        ((hangs,),) = query(room, "SELECT id FROM output_directories WHERE path = 'b'")
        looked: list[dict[int, str]] = []
        asking = threading.Thread(target=lambda: looked.append(seen(outputs, hangs)))
        asking.start()
        assert kinds(desk.say(result(2), result(3))) == [Ack, Ack]
        asking.join()
        assert looked == [{hangs: "no answer from the disk for 0 s"}]
        assert outputs.trouble() == {}


def seen(outputs: Outputs, hangs: int) -> dict[int, str]:
    """What is told while that folder hangs and no other is written to; then it goes on.

    For a moment the other folder's write, on its way, is told too: from 0 s on all is slow here.
    """
    try:
        return wait_until(lambda: told if (told := outputs.trouble()).keys() == {hangs} else None)
    finally:
        plan = cast(Hanging, cast(FaultyDisk, outputs.disk).plan)
        plan.released.set()


def test_an_error_names_folder_and_reason(room: Room) -> None:
    plan = Hanging(lambda _, folder: folder == "b")
    with opened(room.home, FaultyDisk(plan)) as desk:
        limited(desk)
        plan.begun = True
        (reply,) = ask(desk, 3)
        assert isinstance(reply, Error)
        assert reply.code == "directory_unavailable"
        assert "cannot write to b just now: no answer from the disk" in reply.message
        back(desk, plan)
