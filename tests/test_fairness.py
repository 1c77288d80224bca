"""A worker that makes a real manager do as much as it can: nobody else waits for it, and neither
does the end.

The work that is sent ahead takes a minute or more altogether; the bounds here are a small part of
that on any machine.  What is not here: whose turn it is (`test_turns.py`), memory
(`test_resources_live.py`).
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from crash_scenarios import cells, prepare, result
from serving import ask, receive

from sqlqueue import keys, protocol
from sqlqueue.home import Home
from support import ManagerProcess, connect, stop

SECONDS = 60.0
SOON_SECONDS = 15.0
CELLS = 3000
ACK = {"type": "ack"}
SAME = {"type": "request_task", "worker_id": "hog", "count": 1000, "request_id": "same"}
"""Answered with the same thousand tasks each time it is asked."""
LOST = [f"p_{number}_{number}" for number in range(CELLS)]


def fields(request: protocol.Request) -> dict[str, Any]:
    found = json.loads(protocol.encode(request))
    assert isinstance(found, dict)
    return found


@pytest.fixture
def manager(manager_process: ManagerProcess) -> ManagerProcess:
    """With some thousand tasks, one directory, and a port."""
    manager_process.start("--host", "127.0.0.1", "--port", "0")
    for request in (prepare("out"), cells({number: ["out"] for number in range(CELLS)})):
        answer = manager_process.ask(fields(request), SECONDS)
        assert answer["type"] != "error", answer
    return manager_process


@contextmanager
def worker(home: Home) -> Iterator[ssl.SSLSocket]:
    """A connection with the worker's secret."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    found = home.manager()
    assert found
    plain = socket.create_connection(("127.0.0.1", found["port"]), SECONDS)
    with context.wrap_socket(plain) as client:
        hello = {"type": "hello", "token": keys.load(home).worker}
        assert ask(client, hello) == {"type": "welcome", "role": "worker"}
        yield client


@contextmanager
def flooding(home: Home, *messages: dict[str, Any]) -> Iterator[None]:
    """Sends all that as a worker and reads nothing, for as long as the block runs."""
    data = b"".join(json.dumps(each).encode() + b"\n" for each in messages)
    with worker(home) as hog:
        hog.settimeout(SECONDS)

        def flood() -> None:
            with contextlib.suppress(OSError, ValueError):
                hog.sendall(data)

        thread = threading.Thread(target=flood)
        thread.start()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                hog.shutdown(socket.SHUT_RDWR)
            thread.join(SECONDS)


def seconds_of(act: Callable[[], object]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


def others_go_on(manager: ManagerProcess) -> None:
    """One after the other, so that each finds the other's work under way."""
    for cell in range(CELLS - 5, CELLS):
        message = fields(result(cell))
        answers: list[dict[str, Any]] = []
        took = seconds_of(lambda m=message, a=answers: a.append(manager.ask(m, SECONDS)))  # type: ignore[misc]
        assert answers == [ACK]
        assert took < SOON_SECONDS


def ends_soon(manager: ManagerProcess) -> None:
    process, manager.process = manager.process, None
    assert process is not None
    assert stop(process, SOON_SECONDS) == 0


def holding(manager: ManagerProcess) -> None:
    with connect(manager.socket_path, SECONDS) as client:
        assert ask(client, SAME)["type"] == "tasks"


BEAT = {"type": "heartbeat", "worker_id": "hog 2", "tasks": LOST}
ANNOUNCE = {"type": "announce", "worker_id": "hog", "holds": []}
FLOODS = [
    pytest.param([SAME] * 600, id="the same tasks"),
    pytest.param([BEAT] * 600, id="tasks that others hold", marks=pytest.mark.slow),
    pytest.param([ANNOUNCE, SAME] * 300, id="announcements", marks=pytest.mark.slow),
    pytest.param([{"type": "status"}] * 2000, id="figures", marks=pytest.mark.slow),
]


@pytest.mark.parametrize("messages", FLOODS)
def test_nobody_waits_for_what_a_worker_sent_ahead(
    manager: ManagerProcess, home: Home, messages: list[dict[str, Any]]
) -> None:
    holding(manager)
    with flooding(home, *messages):
        others_go_on(manager)
        ends_soon(manager)


@pytest.mark.slow
def test_many_that_each_ask_for_much_delay_neither_the_others_nor_the_end(
    manager: ManagerProcess, home: Home
) -> None:
    """What is quick goes before what is heavy; when it stops, what waits is told to ask again."""
    holding(manager)
    with ExitStack() as stack:
        hogs = [stack.enter_context(worker(home)) for _ in range(100)]
        for hog in hogs:
            hog.sendall(json.dumps(SAME).encode() + b"\n")
        others_go_on(manager)
        ends_soon(manager)
        codes = [receive(hog, 1)[0].get("code", "answered") for hog in hogs]
    assert set(codes) <= {"answered", "stopping"}
    assert "stopping" in codes
