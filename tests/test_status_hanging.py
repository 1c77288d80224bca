"""`status` beside an output directory that does not answer: a real one, whose server is stopped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from crash_scenarios import LINKS, Room, cells, opened, prepare, submit
from needs import need

from sqlqueue.protocol import Ack
from sqlqueue.store import summary
from support import wait_until

LIMIT_SECONDS = 0.3


class Served:
    """A folder behind a FUSE server that can be stopped; then whoever looks at it waits."""

    def __init__(self, folder: Path, behind: Path) -> None:
        for each in (folder, behind):
            each.mkdir(parents=True)
        self.folder = folder
        self.server = subprocess.Popen(["bindfs", "-f", str(behind), str(folder)])
        wait_until(lambda: os.path.ismount(folder), what="the mount")

    def hang(self) -> None:
        self.server.send_signal(signal.SIGSTOP)

    def answer(self) -> None:
        self.server.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self.answer()
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
        self.server.terminate()
        self.server.wait()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    need(shutil.which("bindfs") is not None and os.geteuid() == 0, "bindfs, and root to mount it")
    made = Served(tmp_path / "queue" / "b", tmp_path / "behind")
    yield made
    made.end()


@pytest.fixture
def room(served: Served) -> Room:
    """A file of a person's was moved aside in the folder that is served."""
    room = Room(served.folder.parent)
    room.home.create()
    with opened(room.home) as desk:
        desk.say(prepare("a", "b"))
        desk.say(cells(LINKS))
        room.csv("b").write_text("mine\n")
        assert submit(desk, 0) == [Ack]
    return room


def seconds_of_status(room: Room) -> float:
    begun = time.monotonic()
    figures = summary.offline_status(room.home)
    assert len(figures["set_aside"]) == 1, "one that cannot be looked at is not taken for gone"
    return time.monotonic() - begun


def test_the_figures_wait_for_no_folder(
    served: Served, room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summary._lanes, "limit_seconds", LIMIT_SECONDS)
    seconds_of_status(room)
    timer = threading.Timer(20 * LIMIT_SECONDS, served.answer)  # else a failure would hang
    timer.start()
    served.hang()
    assert seconds_of_status(room) < 10 * LIMIT_SECONDS
    threads = threading.active_count()
    for _ in range(5):
        assert seconds_of_status(room) < 10 * LIMIT_SECONDS
    assert threading.active_count() <= threads + 2, "each look left a thread behind"
    timer.cancel()
    served.answer()
    wait_until(lambda: not any(map(summary._lanes.stuck, _looked_at(served))), what="the look")


def _looked_at(served: Served) -> list[Path]:
    return [served.folder, served.folder / summary.FOLDER]
