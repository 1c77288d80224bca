"""`status` beside what does not answer: an output directory whose server is stopped, the disk of
the home, a manager that is stopped itself.
"""

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
from serving import SECONDS, Running, ask

from sqlqueue import contact
from sqlqueue.errors import ManagerUnreachable
from sqlqueue.home import Home
from sqlqueue.manager import desk
from sqlqueue.protocol import Ack
from sqlqueue.store import summary
from support import ManagerProcess, wait_until

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
    with opened(room.home) as core:
        core.say(prepare("a", "b"))
        core.say(cells(LINKS))
        room.csv("b").write_text("mine\n")
        assert submit(core, 0) == [Ack]
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


def test_figures_that_cannot_be_read_are_given_up_and_never_piled_up(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk, "READING_SECONDS", LIMIT_SECONDS)
    go, readings = threading.Event(), []

    def figures() -> dict[str, object]:
        readings.append(None)
        return {"went": go.wait(SECONDS)}

    with Running(home) as running, running.unix() as client:
        running.writer.figures = figures
        for _ in range(3):
            answer = ask(client, {"type": "status"})
            assert (answer["code"], answer["retryable"]) == ("storage_failure", True)
            assert "does the disk of the home not answer?" in answer["message"]
        assert len(readings) == 1
        go.set()
        assert ask(client, {"type": "status"}) == {"type": "status", "status": {"went": True}}
        assert len(readings) == 2


def test_a_manager_that_is_silent_is_not_said_to_be_gone(
    manager: ManagerProcess, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contact, "STATUS_SECONDS", 2.0)
    assert contact.figures(home)["manager"]["running"]
    assert manager.process is not None
    manager.process.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(ManagerUnreachable, match="took the request and did not answer"):
            contact.figures(home)
    finally:
        manager.process.send_signal(signal.SIGCONT)
    monkeypatch.setattr(contact, "STATUS_SECONDS", SECONDS)
    assert contact.figures(home)["manager"]["running"]
    manager.kill()
    assert not contact.figures(home)["manager"]["running"]
