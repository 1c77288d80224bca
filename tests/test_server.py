"""Clients of every kind against a real server: framing, order, limits, waiting, figures."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import uvloop
from serving import (
    QUICK,
    SECONDS,
    Running,
    a_task,
    acknowledge,
    ask,
    at_end,
    heartbeat,
    receive,
    send,
)

from sqlqueue import protocol
from sqlqueue.errors import QueueError, StorageFailure
from sqlqueue.home import Home
from sqlqueue.manager import door
from support import wait_until

ASK = {"type": "request_task", "worker_id": "w"}
NOTHING = {"type": "no_task", "done": False}


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def running(request: pytest.FixtureRequest, home: Home) -> Iterator[Running]:
    with Running(home, new_loop=request.param) as it:
        yield it


@pytest.fixture
def client(running: Running) -> Iterator[socket.socket]:
    with running.unix() as connection:
        yield connection


@pytest.fixture
def quick(home: Home) -> Callable[..., Running]:
    """A server with limits of the test's own."""
    return lambda **limits: Running(home, limits=replace(QUICK, **limits))


def ack(worker: str = "w") -> dict[str, object]:
    return {"type": "ack", "cancel": [worker]}


# --- framing ------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"", b"\n\n \n"])
def test_one_message_one_answer(client: socket.socket, end: bytes) -> None:
    for _ in range(3):
        assert ask(client, heartbeat(), end) == ack()


def test_byte_by_byte(client: socket.socket) -> None:
    for byte in json.dumps({**heartbeat(), "x": {"y": {}}}).encode():
        client.sendall(bytes([byte]))
    assert receive(client, 1) == [ack()]


def test_a_late_line_end_is_no_message(client: socket.socket) -> None:
    assert ask(client, heartbeat("a"), b"") == ack("a")
    client.sendall(b"\n")
    assert ask(client, heartbeat("b")) == ack("b")


def test_a_long_object_without_line_end_in_pieces_that_look_whole(client: socket.socket) -> None:
    filler = [{"task_id": f"t{i}"} for i in range(40_000)]
    text = json.dumps({"type": "heartbeat", "worker_id": "w", "tasks": filler}).encode()
    middle = text.index(b"}", len(text) // 2) + 1
    client.sendall(text[:middle])
    client.sendall(text[middle:])
    assert receive(client, 1) == [ack()]


def test_a_client_that_shuts_its_side_down_is_answered(running: Running) -> None:
    for ending in (b"", b"\n"):
        with running.unix() as client:
            send(client, heartbeat("a"), heartbeat("b"), end=b"\n")
            client.sendall(b'{"type": "status"' + ending)
            client.shutdown(socket.SHUT_WR)
            first, second, third = receive(client, 3)
            assert (first, second) == (ack("a"), ack("b"))
            assert third["code"] == "bad_message"
            assert at_end(client)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"hello there", "JSON"),
        (b"{", "JSON"),
        (b"[]", "object"),
        (b"null", "object"),
        (b"\xff\xfe{}", "UTF-8"),
        (b"{}", "type"),
        (b'{"type": "dance"}', "dance"),
        (b'{"type": 4}', "type"),
        (b'{"type": "request_task"}', "worker_id"),
        (b'{"type": "heartbeat", "worker_id": 7}', "worker_id"),
        (b'{"type": "heartbeat", "worker_id": "w", "tasks": 3}', "tasks"),
        (b"[" * 100_000, "nested"),
        (b'{"a":' * 100_000, "nested"),
        (b"GET / HTTP/1.1", "JSON"),
        (b'{"type":"status"}{"type":"status"}', "JSON"),
    ],
)
def test_a_bad_line_is_answered_and_the_connection_stays(
    client: socket.socket, line: bytes, says: str
) -> None:
    answer = ask(client, line)
    assert answer["type"] == "error"
    assert answer["code"] == "bad_message"
    assert says in answer["message"]
    assert ask(client, heartbeat()) == ack()


def test_unknown_fields_are_ignored(client: socket.socket) -> None:
    assert ask(client, {**heartbeat(), "mood": "good"}) == ack()


@pytest.mark.parametrize("spelling", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_not_finite_arrive(running: Running, spelling: str) -> None:
    with running.unix() as client:
        text = '{"type":"submit_result","task_id":"t","worker_id":"w","result_data":{"x":%s}}'
        assert ask(client, (text % spelling).encode()) == ack()
        (heard,) = running.writer.heard
        assert json.dumps(heard.result_data["x"]) == spelling


@pytest.mark.parametrize("end", [b"\n", b""])
def test_a_message_of_exactly_the_limit_is_taken(client: socket.socket, end: bytes) -> None:
    empty = json.dumps({**heartbeat(), "filler": ""}).encode()
    filler = "x" * (protocol.MAX_MESSAGE_BYTES - len(empty))
    assert ask(client, {**heartbeat(), "filler": filler}, end) == ack()


@pytest.mark.parametrize("end", [b"\n", b""])
@pytest.mark.parametrize("more", [1, protocol.MAX_MESSAGE_BYTES * 2])
def test_one_that_is_longer_is_refused_and_the_client_learns_why(
    running: Running, end: bytes, more: int
) -> None:
    with running.unix() as client:
        assert ask(client, heartbeat()) == ack()
        answer = ask(client, b"{" + b"x" * (protocol.MAX_MESSAGE_BYTES + more - 2) + b"}", end)
        assert answer["code"] == "too_large"
        assert at_end(client)
    with running.unix() as other:
        assert ask(other, heartbeat()) == ack()


def test_a_refused_client_that_never_stops_sending_is_cut_off(
    quick: Callable[..., Running],
) -> None:
    with quick(linger_seconds=0.05, message_bytes=1000) as running, running.unix() as client:
        with pytest.raises(ConnectionError):
            while True:
                client.sendall(b"x" * 100_000)
        wait_until(lambda: running.connections == 0)


# --- order --------------------------------------------------------------------------------


def test_pipelined_requests_share_a_batch_and_come_back_in_order(running: Running) -> None:
    with running.unix() as client:
        running.writer.open.clear()
        names = [f"w{i}" for i in range(50)]
        send(client, *(heartbeat(name) for name in names))
        send(client, b"nonsense")
        wait_until(lambda: running._server._desk._in_flight == 50)
        running.writer.open.set()
        *answers, last = receive(client, 51)
        assert answers == [ack(name) for name in names]
        assert last["code"] == "bad_message"
        assert len(running.writer.batches) == 1


def test_more_than_may_be_open_are_taken_in_turn(quick: Callable[..., Running]) -> None:
    with quick(open_questions=8) as running, running.unix() as client:
        names = [f"w{i}" for i in range(200)]
        send(client, *(heartbeat(name) for name in names))
        client.shutdown(socket.SHUT_WR)
        assert receive(client, 200) == [ack(name) for name in names]
        assert at_end(client)
        assert max(len(batch) for batch in running.writer.batches) <= 8


def test_bad_lines_by_the_thousand(client: socket.socket) -> None:
    reader = threading.Thread(target=lambda: answers.extend(receive(client, 30_000)))
    answers: list[dict[str, object]] = []
    reader.start()
    send(client, *([b"x"] * 30_000))
    reader.join(SECONDS)
    assert len(answers) == 30_000
    assert {answer["code"] for answer in answers} == {"bad_message"}


def test_many_bytes_in_flight_are_bounded(quick: Callable[..., Running]) -> None:
    with quick(open_bytes=10_000) as running, running.unix() as client:
        running.writer.open.clear()
        send(client, *({**heartbeat(f"w{i}"), "filler": "x" * 6000} for i in range(10)))
        wait_until(lambda: running._server._desk._in_flight == 2)
        running.writer.open.set()
        assert receive(client, 10) == [ack(f"w{i}") for i in range(10)]


def test_clients_do_not_wait_for_each_other(running: Running) -> None:
    figures_may_go = threading.Event()
    running.writer.figures = lambda: {"waited": figures_may_go.wait(SECONDS)}
    with running.unix() as slow, running.unix() as waiting, running.unix() as half:
        send(slow, {"type": "status"})
        send(waiting, {**ASK, "wait": 60})
        half.sendall(b'{"type": "heart')
        with running.unix() as quick:
            assert ask(quick, heartbeat()) == ack()
        figures_may_go.set()
        assert receive(slow, 1) == [{"type": "status", "status": {"waited": True}}]


# --- figures ------------------------------------------------------------------------------


def test_status_shows_what_the_same_client_did_before(running: Running) -> None:
    running.writer.figures = lambda: {"heard": len(running.writer.heard)}
    with running.unix() as client:
        running.writer.open.clear()
        send(client, heartbeat(), {"type": "status"}, heartbeat(), {"type": "status"})
        wait_until(lambda: running._server._desk._in_flight == 2)
        running.writer.open.set()
        answers = receive(client, 4)
        assert [answer["type"] for answer in answers] == ["ack", "status", "ack", "status"]
        assert answers[1]["status"]["heard"] >= 1


def test_one_reading_serves_those_who_came_before_it_began(running: Running) -> None:
    readings: list[int] = []
    go = threading.Semaphore(0)

    def figures() -> dict[str, int]:
        readings.append(1)
        assert go.acquire(timeout=SECONDS)
        return {"reading": len(readings)}

    running.writer.figures = figures
    clients = [running.unix() for _ in range(5)]
    send(clients[0], {"type": "status"})
    wait_until(lambda: readings)
    for each in clients[1:]:
        send(each, {"type": "status"})
        assert ask_second(running)
    go.release(2)
    found = [receive(each, 1)[0]["status"]["reading"] for each in clients]
    assert found == [1, 2, 2, 2, 2]
    for each in clients:
        each.close()


def ask_second(running: Running) -> bool:
    """An answered request proves that what was sent before it has arrived."""
    with running.unix() as client:
        return ask(client, heartbeat()) == ack()


@pytest.mark.parametrize(
    ("error", "code"), [(StorageFailure("no"), "storage_failure"), (OSError(5, "disk"), "error")]
)
def test_figures_that_cannot_be_read_are_an_error_reply(
    running: Running, client: socket.socket, error: Exception, code: str
) -> None:
    def figures() -> dict[str, object]:
        raise error

    running.writer.figures = figures
    answer = ask(client, {"type": "status"})
    assert (answer["code"], answer["retryable"]) == (code, True)
    running.writer.figures = lambda: {"x": float("nan")}
    assert str(ask(client, {"type": "status"})["status"]) == "{'x': nan}"


def test_an_answer_that_is_too_long_is_an_error_that_says_so(
    running: Running, client: socket.socket
) -> None:
    running.writer.figures = lambda: {"x": "x" * protocol.MAX_MESSAGE_BYTES}
    assert ask(client, {"type": "status"})["code"] == "too_large"
    assert ask(client, heartbeat()) == ack()


# --- waiting for a task ---------------------------------------------------------------------


def tasks_for(running: Running, count: int) -> None:
    """From now on the writer has so many tasks."""
    left = [count]

    def handler(request: protocol.Request) -> protocol.Reply:
        if isinstance(request, protocol.RequestTask) and left[0]:
            left[0] -= 1
            return a_task(f"t{left[0]}")
        return acknowledge(request)

    running.writer.handler = handler
    running.writer.grown += 1


def waiting(running: Running, count: int) -> bool:
    return len(running._server._desk._room) == count


def test_without_wait_the_answer_comes_at_once(client: socket.socket) -> None:
    assert ask(client, ASK) == NOTHING


def test_a_wait_ends_with_no_task(running: Running, client: socket.socket) -> None:
    assert ask(client, {**ASK, "wait": 0.05}) == NOTHING
    assert len(running.writer.heard) == 1


def test_a_wait_ends_when_there_is_a_task(running: Running, client: socket.socket) -> None:
    send(client, {**ASK, "wait": 60})
    wait_until(lambda: waiting(running, 1))
    tasks_for(running, 1)
    assert receive(client, 1)[0]["task_id"] == "t0"


def test_a_wait_ends_when_all_is_done(running: Running, client: socket.socket) -> None:
    send(client, {**ASK, "wait": 60})
    wait_until(lambda: waiting(running, 1))
    running.writer.done = True
    assert receive(client, 1) == [{"type": "no_task", "done": True}]


def test_tasks_that_came_while_the_request_was_on_its_way_are_not_missed(
    running: Running, client: socket.socket
) -> None:
    def handler(_: protocol.Request) -> protocol.Reply:
        if len(running.writer.batches) == 1:
            running.writer.grown += 1
            ticks = running.writer.ticks
            wait_until(lambda: running.writer.ticks > ticks + 2, what="the server having looked")
            return protocol.NoTask(done=False)
        return a_task()

    running.writer.handler = handler
    assert ask(client, {**ASK, "wait": 60})["type"] == "task"


@pytest.mark.parametrize("tasks", [0, 1, 7, 40])
def test_many_who_wait_all_get_what_there_is_and_are_not_asked_in_vain(
    home: Home, tasks: int
) -> None:
    with Running(home, limits=replace(QUICK, waking=4)) as running:
        clients = [running.unix() for _ in range(20)]
        for each in clients:
            send(each, {**ASK, "wait": 60})
        wait_until(lambda: waiting(running, 20))
        tasks_for(running, tasks)
        served = min(tasks, 20)
        wait_until(lambda: waiting(running, 20 - served) and running._server._desk._in_flight == 0)
        assert len(running.writer.heard) <= 20 + served + 4
        for each in clients:
            each.close()


def test_a_waiting_client_that_is_gone_gets_no_task(running: Running) -> None:
    gone, here = running.unix(), running.unix()
    send(gone, {**ASK, "worker_id": "gone", "wait": 60})
    wait_until(lambda: waiting(running, 1))
    send(here, {**ASK, "worker_id": "here", "wait": 60})
    wait_until(lambda: waiting(running, 2))
    gone.close()
    assert ask_second(running)
    tasks_for(running, 1)
    assert receive(here, 1)[0]["type"] == "task"
    asked_again = [each.worker_id for each in running.writer.heard[3:]]
    assert asked_again == ["here"]
    here.close()


def test_a_waiting_client_that_only_shut_its_side_down_gets_its_task(running: Running) -> None:
    with running.unix() as client:
        send(client, {**ASK, "wait": 60})
        client.shutdown(socket.SHUT_WR)
        wait_until(lambda: waiting(running, 1))
        tasks_for(running, 1)
        assert receive(client, 1)[0]["type"] == "task"
        assert at_end(client)


# --- clients that behave badly ----------------------------------------------------------------


def test_a_client_that_does_not_read_is_dropped_after_a_while(
    quick: Callable[..., Running],
) -> None:
    with quick(stall_seconds=0.05, high_water_bytes=10_000) as running, running.unix() as client:
        assert ask(client, heartbeat()) == ack()
        running.writer.handler = lambda _: protocol.Ack(cancel=["x" * 100_000])
        send(client, *([heartbeat()] * 20))
        wait_until(lambda: running.connections == 0)
        assert ask_some(running)


def test_a_client_that_reads_nothing_is_not_read_from(quick: Callable[..., Running]) -> None:
    with quick(high_water_bytes=10_000) as running, running.unix() as client:
        running.writer.handler = lambda _: protocol.Ack(cancel=["x" * 400_000])
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            while True:
                client.sendall(json.dumps(heartbeat()).encode() + b"\n" + b" " * 10_000 + b"\n")
        heard = len(running.writer.heard)
        assert heard <= QUICK.open_questions + 10


def test_unread_answers_are_bounded(quick: Callable[..., Running]) -> None:
    with quick(unread_bytes=500_000) as running, running.unix() as client:
        assert ask(client, heartbeat()) == ack()
        running.writer.handler = lambda _: protocol.Ack(cancel=["x" * 400_000])
        send(client, *([heartbeat()] * 20))
        wait_until(lambda: running.connections == 0)
        assert ask_some(running)


def ask_some(running: Running) -> bool:
    running.writer.handler = acknowledge
    return ask_second(running)


def test_resets_and_halves_disturb_nobody(running: Running) -> None:
    with running.unix() as steady:
        for i in range(50):
            with running.unix() as rude:
                send(rude, heartbeat(), {**ASK, "wait": 1}, {"type": "status"})
                rude.sendall(b'{"type": "hea' if i % 2 else b"\x00\xff}")
        assert ask(steady, heartbeat()) == ack()
    wait_until(lambda: running.connections == 0)


def test_a_hello_on_the_unix_socket_is_welcome(client: socket.socket) -> None:
    assert ask(client, {"type": "hello", "token": "anything"}) == {
        "type": "welcome",
        "role": "owner",
    }


def test_another_user_is_turned_away_even_if_the_permissions_let_him_in(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "_credentials", lambda _: (4711, os.geteuid() + 1))
    with running.unix() as stranger:
        assert at_end(stranger)
    monkeypatch.undo()
    assert ask_second(running)
    assert running.connections <= 1


# --- the writer ---------------------------------------------------------------------------------


def test_the_writer_is_told_the_time(running: Running) -> None:
    wait_until(lambda: running.writer.ticks > 3)


def test_a_writer_that_gives_up_ends_the_manager(running: Running) -> None:
    with running.unix() as client:
        assert ask(client, heartbeat()) == ack()
        running.writer.fatal = QueueError("the epoch is lost")
        assert running.wait() == 1
        assert at_end(client)


def test_a_writer_that_cannot_start_ends_the_manager(home: Home) -> None:
    def failing(*arguments: object, **named: object) -> object:
        from serving import Echo

        echo = Echo(*arguments, **named)  # type: ignore[arg-type]
        echo.failing_start = StorageFailure("no disk")
        return echo

    with pytest.raises(StorageFailure, match="no disk"), Running(home, writer=failing):
        pass
    assert home.manager() is None
    assert not home.socket.exists()
