"""A real manager that is short of something, or is asked for much: thousands of idle clients, one
that never reads, no descriptors left, thousands of directories, results as large as a message.

Promises: figures that were measured are printed (`pytest -s`).  What is not here: children
(`test_child_misbehaving.py`), disks (`test_disks_real.py`).
"""

from __future__ import annotations

import contextlib
import csv
import json
import resource
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from core import Core, task
from crash_scenarios import Room, cells, prepare, result
from needs import need
from serving import ask, at_end, receive, send
from tally import count

from sqlqueue import protocol
from sqlqueue.disk import Disk
from sqlqueue.home import Home
from sqlqueue.store.lanes import Lanes
from support import ManagerProcess, connect, wait_until

SECONDS = 30.0
ACK = {"type": "ack"}
BOTH = ("left", "right")


@pytest.fixture(autouse=True)
def _many_descriptors() -> Iterator[None]:
    """As many as this process may have: both ends of a connection must be open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def fields(request: protocol.Request) -> dict[str, Any]:
    found = json.loads(protocol.encode(request))
    assert isinstance(found, dict)
    return found


def add(manager: ManagerProcess, count: int, folders: tuple[str, ...] = BOTH) -> None:
    """So many cells, each for all those directories."""
    for request in (prepare(*folders), cells(dict.fromkeys(range(count), folders))):
        answer = manager.ask(fields(request), 600.0)
        assert answer["type"] != "error", answer


def submission(cell: int, **metrics: Any) -> dict[str, Any]:
    return fields(result(cell, **metrics))


def rows(root: Path, folder: str) -> list[str]:
    """The task of each row; every line must be whole."""
    text = (root / folder / "final_results.csv").read_bytes()
    assert text.endswith(b"\n")
    with (root / folder / "final_results.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert len(read) == text.count(b"\n") - 1
    assert all(None not in row and None not in row.values() for row in read)
    return [row["task_id"] for row in read]


def process(manager: ManagerProcess) -> psutil.Process:
    assert manager.process is not None
    return psutil.Process(manager.process.pid)


def resident(manager: ManagerProcess) -> int:
    return int(process(manager).memory_info().rss)


def pause(seconds: float) -> bool:
    return threading.Event().wait(seconds)


def busy_seconds(manager: ManagerProcess) -> float:
    times = process(manager).cpu_times()
    return float(times.user + times.system)


def say(text: str) -> None:
    print(text, file=sys.stderr)


# --- idle clients -----------------------------------------------------------------------------

IDLE = 2000


def test_thousands_of_idle_clients_are_in_nobody_s_way(manager: ManagerProcess, home: Home) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    need(limit > IDLE + 200, f"{IDLE + 200} descriptors (ulimit -Hn)")
    add(manager, 21)
    with connect(manager.socket_path) as steady:
        assert ask(steady, submission(0)) == ACK
        files, memory = process(manager).num_fds(), resident(manager)
        with ExitStack() as idle:
            for _ in range(IDLE):
                idle.enter_context(connect(manager.socket_path))
            wait_until(lambda: process(manager).num_fds() >= files + IDLE, SECONDS)
            each = (resident(manager) - memory) / IDLE
            began = time.monotonic()
            for cell in range(1, 21):
                assert ask(steady, submission(cell)) == ACK
            assert ask(steady, {"type": "status"})["type"] == "status"
            took = time.monotonic() - began
        wait_until(lambda: process(manager).num_fds() <= files + 2, SECONDS, "all let go")
        assert ask(steady, {"type": "status"})["type"] == "status"
    say(f"{IDLE} idle clients: {each / 1024:.1f} KiB each; 20 results and a status {took:.2f} s")
    assert each < 64 * 1024
    assert took < SECONDS / 3
    assert [len(rows(home.root, folder)) for folder in BOTH] == [21, 21]


# --- a client that never reads ----------------------------------------------------------------


def flood(deaf: socket.socket, line: bytes, manager: ManagerProcess) -> int:
    """Sends until nothing more is taken and the manager rests; how many bytes went."""
    sent, spent, lines = 0, -1.0, line * 100
    deaf.settimeout(0.5)
    while busy_seconds(manager) - spent > 0.02:
        spent = busy_seconds(manager)
        with contextlib.suppress(TimeoutError):
            while sent < 1 << 30:
                sent += deaf.send(lines)
    return sent


MANY = 40
AGAIN = {"type": "request_task", "worker_id": "deaf", "request_id": "1", "count": MANY}
"""The same id gets the same tasks: a long answer to a short question."""


@contextmanager
def never_reading(manager: ManagerProcess) -> Iterator[tuple[socket.socket, int]]:
    """A worker that asks and asks; how much the manager takes more for it."""
    with connect(manager.socket_path) as deaf:
        before = resident(manager)
        sent = flood(deaf, json.dumps(AGAIN).encode() + b"\n", manager)
        more = resident(manager) - before
        say(f"never read: {sent:,} bytes of requests taken, {more / 2**20:.1f} MiB more")
        assert sent < 16 << 20
        yield deaf, more


def test_a_worker_that_never_reads_its_answers_costs_little(
    manager: ManagerProcess, home: Home
) -> None:
    add(manager, MANY)
    with connect(manager.socket_path) as steady:
        assert ask(steady, submission(0)) == ACK
        with never_reading(manager) as (_, more):
            assert more < 64 << 20
            for cell in range(1, 10):
                assert ask(steady, submission(cell)) == ACK
        assert ask(steady, {"type": "status"})["type"] == "status"
    assert [len(rows(home.root, folder)) for folder in BOTH] == [10, 10]


@pytest.mark.crash
def test_a_worker_that_never_reads_its_answers_is_dropped(manager: ManagerProcess) -> None:
    add(manager, MANY)
    with never_reading(manager) as (deaf, _):
        began = time.monotonic()
        wait_until(lambda: "dropped" in manager.said, 60.0, "its end")
        say(f"dropped after {time.monotonic() - began:.0f} s")
        deaf.settimeout(SECONDS)
        with contextlib.suppress(ConnectionError):
            while deaf.recv(1 << 20):
                pass
        assert manager.ask({"type": "status"})["type"] == "status"


# --- no descriptors -----------------------------------------------------------------------------

SPARE = 12
"""Descriptors that the manager may still open."""


@contextmanager
def only(manager: ManagerProcess, spare: int) -> Iterator[None]:
    """The manager may open so many files more."""
    pid = process(manager).pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (process(manager).num_fds() + spare, hard))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def no_descriptors(manager: ManagerProcess) -> Iterator[None]:
    """Clients hold all that the manager may have; they go at the end."""
    with only(manager, SPARE):
        with ExitStack() as clients:
            for _ in range(SPARE + 20):
                clients.enter_context(connect(manager.socket_path))
            wait_until(lambda: "cannot take another connection" in manager.said, SECONDS)
            yield
        with connect(manager.socket_path) as late:
            assert ask(late, {"type": "status"})["type"] == "status"


def insist(connection: socket.socket, message: dict[str, Any]) -> None:
    """Until it is acked; every refusal may be asked again."""

    def acked() -> bool:
        answer = ask(connection, message)
        assert answer == ACK or answer["retryable"], answer
        return answer == ACK

    wait_until(acked, SECONDS, "the ack")


def test_a_manager_without_descriptors_acks_nothing_and_lives(
    manager: ManagerProcess, home: Home
) -> None:
    add(manager, 4)
    with connect(manager.socket_path) as steady:
        assert ask(steady, submission(0)) == ACK
        with no_descriptors(manager):
            refused = [ask(steady, submission(cell)) for cell in (1, 2)]
            assert [each["type"] for each in refused] == ["error", "error"], refused
            assert all(each["retryable"] for each in refused), refused
            assert [rows(home.root, folder) for folder in BOTH] == [["p_0_0"]] * 2
            before = busy_seconds(manager)
            pause(1.0)
            spent = busy_seconds(manager) - before
        say(f"no descriptors: {spent:.2f} s of CPU in a second; {refused[0]['message']}")
        assert spent < 0.1
        for cell in (1, 2, 3):
            insist(steady, submission(cell))
    expected = {f"p_{cell}_{cell}" for cell in range(4)}
    assert [set(rows(home.root, folder)) for folder in BOTH] == [expected, expected]
    assert "Traceback" not in manager.said
    assert manager.said.count("cannot take another connection") == 1


def test_whichever_file_cannot_be_opened_nothing_is_acked_that_is_not_there(
    manager: ManagerProcess, home: Home
) -> None:
    """With one descriptor more each time: none, then all, one after the other."""
    add(manager, 6)
    answers = []
    with connect(manager.socket_path) as steady:
        assert ask(steady, submission(0)) == ACK
        # Fewer than are open first: it may just have had one open when they were counted.
        for cell, spare in enumerate(range(-2, 3), 1):
            message = submission(cell)
            with only(manager, spare):
                answers.append(ask(steady, message))
            insist(steady, message)
            for folder in BOTH:
                assert rows(home.root, folder) == [f"p_{n}_{n}" for n in range(cell + 1)]
    reasons = [str(each.get("message")) for each in answers if each != ACK]
    say("\n".join(reasons))
    assert reasons and answers[-1] == ACK, answers
    assert "Traceback" not in manager.said


# --- many directories -----------------------------------------------------------------------------


class SlowDisk(Disk):
    """Each sync takes its time, as on a disk that turns."""

    seconds = 0.0
    syncs = 0

    def fsync(self, fd: int) -> None:
        super().fsync(fd)
        self.syncs += 1
        pause(self.seconds)

    def fsync_dir(self, path: Path) -> None:
        super().fsync_dir(path)
        self.syncs += 1
        pause(self.seconds)


def seconds_of(act: Callable[[], object]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


def test_the_first_rows_of_many_directories_are_written_side_by_side(tmp_path: Path) -> None:
    disk, folders = SlowDisk(), [f"d{number}" for number in range(120)]
    core = Core.begin(Room(tmp_path / "queue"), disk)
    core.desk.committer._lanes._most = 16
    core.add(*(task(1, folder=each) for each in folders))
    before, disk.seconds = disk.syncs, 0.02
    first = seconds_of(lambda: core.submit("p_0_1"))
    synced = (disk.syncs - before) * disk.seconds
    say(f"{len(folders)} directories: {first:.2f} s for syncs of {synced:.2f} s")
    assert synced >= 3 * len(folders) * disk.seconds, "a file, its name, and the row"
    assert first < synced / 3
    disk.seconds = 0.0
    core.end()


def test_a_disk_that_answers_slowly_is_not_taken_for_one_that_hangs() -> None:
    """All calls together take longer than one of them may."""
    lanes = Lanes(limit_seconds=0.4, most=2)
    outcomes = lanes.run({key: lambda: pause(0.05) for key in range(40)})
    lanes.close()
    assert set(outcomes.values()) == {False}


def all_have(root: Path, folders: tuple[str, ...], count: int) -> None:
    assert {len(rows(root, folder)) for folder in folders} == {count}


def linked_everywhere(manager: ManagerProcess, home: Home, count: int) -> None:
    """One task for so many directories: its row arrives in each."""
    folders = tuple(f"d{number}" for number in range(count))
    before = seconds_of(lambda: add(manager, 2, folders))
    first = seconds_of(lambda: acked(manager, submission(0)))
    second = seconds_of(lambda: acked(manager, submission(1)))
    say(f"{count} directories: init {before:.1f} s, first row {first:.1f} s, next {second:.1f} s")
    all_have(home.root, folders, 2)


def acked(manager: ManagerProcess, message: dict[str, Any]) -> None:
    answer = manager.ask(message, 600.0)
    assert answer == ACK, answer


def test_one_row_for_hundreds_of_directories(manager: ManagerProcess, home: Home) -> None:
    linked_everywhere(manager, home, 300)


@pytest.mark.crash
@pytest.mark.timeout(600)
def test_one_row_for_thousands_of_directories(manager: ManagerProcess, home: Home) -> None:
    linked_everywhere(manager, home, 5000)
    count("linked directories", 5000)


# --- results as large as a message ----------------------------------------------------------------


def of_size(cell: int, size: int) -> tuple[dict[str, Any], str]:
    """A submission whose line has exactly so many bytes, and what it measured."""
    empty = len(json.dumps(submission(cell, big="")).encode())
    text = ("0123456789abcdef," * (size // 17 + 1))[: size - empty]
    return submission(cell, big=text), text


def big_of(root: Path, folder: str, task_id: str) -> str:
    csv.field_size_limit(1 << 30)
    with (root / folder / "final_results.csv").open(newline="") as file:
        [row] = [row for row in csv.DictReader(file) if row["task_id"] == task_id]
    return row["big"]


def test_a_result_of_exactly_a_message_is_whole_everywhere(
    manager: ManagerProcess, home: Home
) -> None:
    add(manager, 3)
    message, text = of_size(0, protocol.MAX_MESSAGE_BYTES)
    with connect(manager.socket_path, SECONDS) as client:
        took = seconds_of(lambda: send(client, message))
        assert receive(client, 1) == [ACK]
        assert ask(client, submission(1)) == ACK
        longer, _ = of_size(2, protocol.MAX_MESSAGE_BYTES + 1)
        answer = ask(client, longer)
        assert (answer["code"], answer["retryable"]) == ("too_large", False)
        assert f"{protocol.MAX_MESSAGE_BYTES:,} bytes" in answer["message"]
        assert at_end(client)
    say(f"a result of {len(text):,} bytes: sent in {took:.2f} s")
    for folder in BOTH:
        assert big_of(home.root, folder, "p_0_0") == text
        assert rows(home.root, folder) == ["p_0_0", "p_1_1"]
