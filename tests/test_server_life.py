"""A manager's life: alone on its home, findable exactly while it listens, ended in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import resource
import socket
import stat
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from serving import (
    QUICK,
    SECONDS,
    Echo,
    Running,
    acknowledge,
    ask,
    at_end,
    heartbeat,
    receive,
    send,
)

from sqlqueue import protocol
from sqlqueue.errors import HomeError, ManagerRunning
from sqlqueue.home import NAME, Home
from sqlqueue.manager import listen
from support import wait_until

ACK = {"type": "ack", "cancel": ["w"]}
ASK = {"type": "request_task", "worker_id": "w"}


def works(running: Running) -> bool:
    with running.unix() as client:
        return ask(client, heartbeat()) == ACK


# --- where it listens -----------------------------------------------------------------------


def test_manager_json_is_there_while_it_runs(home: Home) -> None:
    with Running(home) as running:
        found = home.manager()
        assert found
        assert found["unix_socket"] == "manager.sock"
        assert (found["host"], found["port"]) == (None, None)
        assert found["pid"] == os.getpid()
        assert found["hostname"] == socket.gethostname()
        assert set(found) >= {"fingerprint", "started_at", "version"}
        assert home.manager_file.stat().st_mode & 0o777 == 0o600
        assert running.stop() == 0
    assert not home.manager_file.exists()
    assert not home.socket.exists()


def test_the_socket_is_private_from_its_first_instant(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []

    class Watching(socket.socket):
        def bind(self, address: object) -> None:
            super().bind(address)
            modes.append(stat.S_IMODE(Path(str(address)).stat().st_mode))

    monkeypatch.setattr(listen.socket, "socket", Watching)
    before = os.umask(0)
    try:
        listen.bind_unix(home, 1).remove()
    finally:
        os.umask(before)
    assert modes == [0o600]


def test_the_socket_of_a_dead_manager_is_replaced(home: Home) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(home.socket))
    home.manager_file.write_text(json.dumps({"unix_socket": "manager.sock", "pid": 1}))
    with Running(home) as running:
        assert works(running)


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_what_is_no_socket_is_left_alone_and_named(home: Home, make: object) -> None:
    make(home.socket)  # type: ignore[operator]
    with pytest.raises(HomeError, match=r"manager\.sock.*move it away"), Running(home):
        pass
    assert home.socket.exists()


@pytest.fixture
def deep_home(tmp_path: Path) -> Home:
    """One whose socket's path would be too long."""
    folder = tmp_path / ("d" * 60) / ("e" * 60)
    folder.mkdir(parents=True)
    home = Home(folder / NAME)
    home.create()
    return home


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A temporary directory of the test's own, with a short path."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def test_a_long_path_gets_a_socket_in_a_private_folder(deep_home: Home, temporary: Path) -> None:
    with Running(deep_home) as running:
        found = deep_home.manager()
        assert found
        path = Path(found["unix_socket"])
        assert path.is_relative_to(temporary)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert works(running)
    assert list(temporary.iterdir()) == []


def test_the_private_folder_of_a_dead_manager_is_removed(deep_home: Home, temporary: Path) -> None:
    dead = listen.bind_unix(deep_home, 1)
    dead.socket.close()
    note = {"unix_socket": dead.recorded, "hostname": socket.gethostname(), "pid": 1}
    deep_home.manager_file.write_text(json.dumps(note))
    with Running(deep_home) as running:
        assert works(running)
        assert not dead.path.parent.exists()
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("name", ["sqlqueue-mine", "other"])
def test_no_folder_of_anybody_else_is_removed(home: Home, temporary: Path, name: str) -> None:
    folder = temporary / name
    folder.mkdir(mode=0o700)
    (folder / "thesis.tex").touch()
    note = {"unix_socket": str(folder / "manager.sock"), "hostname": socket.gethostname()}
    home.manager_file.write_text(json.dumps(note))
    with Running(home) as running:
        assert works(running)
    assert (folder / "thesis.tex").exists()


def test_a_long_temporary_directory_does_not_matter(
    deep_home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ("t" * 90)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with Running(deep_home) as running:
        assert works(running)
    assert list(folder.iterdir()) == []


# --- alone ------------------------------------------------------------------------------------


def test_a_second_manager_is_refused_and_the_first_does_not_notice(home: Home) -> None:
    with Running(home) as running:
        with pytest.raises(ManagerRunning, match=f"pid {os.getpid()}"), Running(home):
            pass
        assert works(running)


def test_a_manager_file_of_somebody_else_is_not_removed(home: Home) -> None:
    with Running(home) as running:
        home.manager_file.write_text(json.dumps({"pid": 1, "hostname": "newer"}))
        assert running.stop() == 0
    assert home.manager_file.exists()


# --- the end ------------------------------------------------------------------------------------


def test_what_was_received_is_answered_before_it_ends(home: Home) -> None:
    with Running(home) as running, running.unix() as client:
        running.writer.open.clear()
        send(client, *([heartbeat()] * 20))
        client.sendall(b'{"type": "heartbeat", "wor')
        wait_until(lambda: running._server._desk._in_flight == 20)
        running.ask_to_stop()
        wait_until(lambda: not home.manager_file.exists())
        running.writer.open.set()
        assert receive(client, 20) == [ACK] * 20
        assert at_end(client)
        assert running.wait() == 0
    assert len(running.writer.heard) == 20


def test_what_comes_after_the_signal_is_not_received(home: Home) -> None:
    with Running(home) as running, running.unix() as client:
        assert ask(client, heartbeat()) == ACK
        running.writer.open.clear()
        send(client, heartbeat())
        wait_until(lambda: running._server._desk._in_flight == 1)
        running.ask_to_stop()
        wait_until(lambda: not home.manager_file.exists())
        wait_until(lambda: not running._server._doors[0]._bound.fileno() > 0)
        send(client, heartbeat("late"))
        running.writer.open.set()
        assert receive(client, 1) == [ACK]
        assert at_end(client)
        running.wait()
    assert len(running.writer.heard) == 2


def test_who_gets_in_at_the_last_moment_is_let_go(home: Home) -> None:
    with Running(home) as running, running.unix() as client:
        running.writer.open.clear()
        send(client, heartbeat())
        wait_until(lambda: running._server._desk._in_flight == 1)
        running.ask_to_stop()
        wait_until(lambda: not running._server._desk._patient)
        late, theirs = socket.socketpair()
        theirs.setblocking(False)
        admission = running._server._doors[0]._admit_local(theirs)
        asyncio.run_coroutine_threadsafe(admission, running._loop).result(SECONDS)
        with late:
            late.settimeout(SECONDS)
            assert at_end(late)


def test_the_waiting_are_answered_and_idle_clients_let_go(home: Home) -> None:
    with Running(home) as running, running.unix() as idle, running.unix() as waiting:
        send(waiting, {**ASK, "wait": 60})
        wait_until(lambda: len(running._server._desk._room) == 1)
        running.ask_to_stop()
        assert receive(waiting, 1) == [{"type": "no_task", "done": False}]
        assert at_end(idle)
        assert running.wait() == 0


def test_figures_asked_for_are_answered_before_it_ends(home: Home) -> None:
    go, reading = threading.Event(), threading.Event()

    def figures() -> dict[str, object]:
        reading.set()
        return {"went": go.wait(SECONDS)}

    with Running(home) as running, running.unix() as client:
        running.writer.figures = figures
        send(client, {"type": "status"})
        assert reading.wait(SECONDS)
        running.ask_to_stop()
        wait_until(lambda: not home.manager_file.exists())
        go.set()
        assert receive(client, 1) == [{"type": "status", "status": {"went": True}}]
        assert running.wait() == 0


def test_a_client_that_does_not_read_cannot_keep_it(home: Home) -> None:
    with Running(home, limits=replace(QUICK, goodbye_seconds=0.2)) as running:
        running.writer.handler = lambda _: protocol.Ack(cancel=["x" * 1_000_000])
        with running.unix() as client:
            send(client, *([heartbeat()] * 3))
            wait_until(lambda: len(running.writer.heard) == 3)
            assert running.stop() == 0


def test_a_signal_while_the_queue_is_being_recovered_means_not_to_listen(home: Home) -> None:
    recovering, recovered = threading.Event(), threading.Event()

    class Slow(Echo):
        def start(self) -> None:
            recovering.set()
            assert recovered.wait(SECONDS)
            super().start()

    running = Running(home, writer=Slow)
    thread = threading.Thread(target=running._run)
    thread.start()
    assert recovering.wait(SECONDS)
    running._loop.call_soon_threadsafe(running._server.stop, "the test asked for it")
    recovered.set()
    thread.join(SECONDS)
    assert running.status == 0
    assert not home.socket.exists()
    assert not home.manager_file.exists()


def test_stopping_twice_is_stopping(home: Home) -> None:
    with Running(home) as running:
        running.ask_to_stop()
        running.ask_to_stop()
        assert running.wait() == 0


def test_it_can_start_again_on_the_same_home(home: Home) -> None:
    for _ in range(3):
        with Running(home) as running:
            assert works(running)


# --- until done -----------------------------------------------------------------------------------


def test_until_done_ends_when_all_is_done_and_everybody_knows(home: Home) -> None:
    with Running(home, until_done=True) as running, running.unix() as worker:
        running.writer.handler = lambda request: (
            protocol.NoTask(done=running.writer.done)
            if isinstance(request, protocol.RequestTask)
            else acknowledge(request)
        )
        assert ask(worker, ASK) == {"type": "no_task", "done": False}
        running.writer.done = True
        assert ask(worker, ASK) == {"type": "no_task", "done": True}
        worker.close()
        assert running.wait() == 0


def test_until_done_does_not_wait_for_ever_for_idle_clients(home: Home) -> None:
    limits = replace(QUICK, parting_seconds=0.1)
    with Running(home, until_done=True, limits=limits) as running, running.unix() as idle:
        assert ask(idle, heartbeat()) == ACK
        running.writer.done = True
        assert at_end(idle)
        assert running.wait() == 0


def test_until_done_goes_on_when_new_tasks_come(home: Home) -> None:
    with Running(home, until_done=True) as running, running.unix() as client:
        assert ask(client, heartbeat()) == ACK
        running.writer.done = True
        wait_until(lambda: running._server._parting)
        running.writer.done = False
        client.close()
        wait_until(lambda: not running._server._parting)
        assert works(running)
        running.writer.done = True
        assert running.wait() == 0


def test_without_until_done_it_stays(home: Home) -> None:
    with Running(home) as running:
        running.writer.done = True
        ticks = running.writer.ticks
        wait_until(lambda: running.writer.ticks > ticks + 3)
        assert works(running)


# --- the machine ----------------------------------------------------------------------------------


def test_running_out_of_descriptors_neither_spins_nor_kills(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    limits = replace(QUICK, retry_accept_seconds=0.01)
    with Running(home, limits=limits) as running, running.unix() as steady:
        assert ask(steady, heartbeat()) == ACK
        with no_descriptors_left() as waiting:
            waiting.connect(str(home.socket))
            wait_until(lambda: "cannot take another connection" in caplog.text)
            ticks = running.writer.ticks
            wait_until(lambda: running.writer.ticks > ticks + 5, what="several more tries")
            assert ask(steady, heartbeat()) == ACK
        assert ask(waiting, heartbeat()) == ACK
        waiting.close()
    assert caplog.text.count("cannot take another connection") == 1


@contextmanager
def no_descriptors_left() -> Iterator[socket.socket]:
    """This process can open no file in the block; one socket is there, made before."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fillers: list[socket.socket] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                fillers.append(socket.socket(socket.AF_UNIX))
        yield fillers.pop(0)
    finally:
        for each in fillers:
            each.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
