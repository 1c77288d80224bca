"""A manager that pauses between any two disk calls while another takes the home over.

On one host nobody can take over in the middle of its writing; from another host that can be
done at any time, and then what the first one does when it wakes up reaches nothing.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator

import pytest
from crash_proof import Workshop, agrees, workshop
from crash_scenarios import MAIN, Room, rows
from needs import need
from pausing import LOST, MINE, edited, everything, paused, took_over
from tally import count

from sqlqueue import filesystems, home_lock
from sqlqueue.errors import ManagerRunning
from sqlqueue.protocol import Repair

ALL = rows(0, 1, 2, 3, 4, 5)
SOME = (1, 5, 8, 13)


@pytest.fixture(scope="module")
def shop() -> Iterator[Workshop]:
    with workshop() as made:
        yield made


@pytest.fixture
def room(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Room:
    monkeypatch.setattr(home_lock, "TURN_SECONDS", 0.05)
    return shop.room(MAIN[2])[0]


@pytest.fixture
def shared(room: Room, monkeypatch: pytest.MonkeyPatch) -> Room:
    """On a filesystem that counts as one that hosts share."""
    need(os.geteuid() == 0, "root, to be another host")
    kind = filesystems.filesystem(room.root)
    monkeypatch.setattr(filesystems, "NETWORK_FILESYSTEMS", frozenset({kind}))
    for name in ("NOTICE_SECONDS", "CONFIRM_SECONDS"):
        monkeypatch.setattr(home_lock, name, 0.0)
    return room


def refused_in_the_middle(room: Room, at: int) -> bool:
    """Whether there was such a call."""
    with paused(room, at) as first:
        if not first.stopped():
            assert first.status == 0
            return False
        with pytest.raises(ManagerRunning, match=f"kill -9 {first.pid}"), took_over(room):
            pass
        assert first.wake() == 0
        assert first.acked == {2, 3, 4}
    agrees(room, ALL, [MINE])
    count("pauses")
    return True


def completed(room: Room) -> set[int]:
    """The cells whose rows stand where the second one took over."""
    texts = (room.csv(folder).read_text() for folder in "ab")
    return {int(row["seed"]) for text in texts for row in csv.DictReader(text.splitlines())}


def taken_over_from_elsewhere(room: Room, at: int) -> bool:
    """The same."""
    with paused(room, at, elsewhere=True) as first:
        if not first.stopped():
            assert first.status == 0
            return False
        acked = first.acked
        with took_over(room) as second:
            acked |= completed(room)
            everything(second)
            before = edited(room).exists()
            assert first.wake() == LOST
            assert first.acked <= acked, "it acked what it wrote to nowhere"
            everything(second)
            second.later()
            if edited(room).exists() and not before:  # nothing was written since the person did
                second.say(Repair())
    agrees(room, ALL, [MINE] if edited(room).exists() else [])
    count("pauses")
    return True


@pytest.mark.parametrize("at", SOME)
def test_on_one_host_it_is_told_which_process_to_end(room: Room, at: int) -> None:
    assert refused_in_the_middle(room, at)


@pytest.mark.parametrize("at", SOME)
def test_from_another_host_it_writes_to_nowhere(shared: Room, at: int) -> None:
    assert taken_over_from_elsewhere(shared, at)


@pytest.mark.crash
def test_on_one_host_at_every_call(shop: Workshop, room: Room) -> None:
    at = 1
    while refused_in_the_middle(room, at):
        at, room = at + 1, shop.room(MAIN[2])[0]
    assert at > 30


@pytest.mark.crash
def test_from_another_host_at_every_call(shop: Workshop, shared: Room) -> None:
    at = 1
    while taken_over_from_elsewhere(shared, at):
        at, shared = at + 1, shop.room(MAIN[2])[0]
    assert at > 30
