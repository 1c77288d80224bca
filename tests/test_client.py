"""The client against a real server, and against peers that hang up, stay silent or lie."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from serving import SECONDS, Running, a_task, acknowledge

from sqlqueue import keys, protocol
from sqlqueue.errors import (
    ManagerUnreachable,
    MessageTooLarge,
    NotAuthorised,
    ProtocolError,
    QueueError,
    StorageFailure,
    UnknownTask,
    UsageError,
)
from sqlqueue.home import NAME, Home
from sqlqueue.worker import client as client_module
from sqlqueue.worker.client import Client, wait_for_manager
from support import wait_until

BEAT = protocol.Heartbeat(worker_id="w")
ACK = protocol.Ack(cancel=["w"])


@pytest.fixture
def running(home: Home) -> Iterator[Running]:
    with Running(home, host="127.0.0.1", port=0) as it:
        yield it


@pytest.fixture(params=["unix", "address", "home over tcp"])
def client(running: Running, request: pytest.FixtureRequest) -> Iterator[Client]:
    """The same client, whichever way it goes."""
    with via(running, request.param) as it:
        yield it


def via(running: Running, way: str, **options: float) -> Client:
    if way == "address":
        token = keys.worker_token(running.home)
        return Client(address=f"127.0.0.1:{running.port}", token=token, **options)
    if way == "home over tcp":
        edit_manager_file(running.home, hostname="elsewhere")
    return Client(running.home, **options)


def edit_manager_file(home: Home, **changes: object) -> None:
    found = (home.manager() or {}) | changes
    home.manager_file.write_text(json.dumps(found))


# --- asking -----------------------------------------------------------------------------------


def test_every_request_has_its_method(running: Running, client: Client) -> None:
    replies = {protocol.RequestTask: a_task(), protocol.StatusRequest: None}
    running.writer.handler = lambda request: replies.get(type(request)) or protocol.Ack()
    named = {"task_id": "t", "worker_id": "w"}
    assert client.request_task(protocol.RequestTask(worker_id="w")) == a_task()
    assert client.submit(protocol.SubmitResult(**named, result_data={})) == protocol.Ack()
    assert client.fail(protocol.TaskFailed(**named, error="e")) == protocol.Ack()
    assert client.release(protocol.Release(**named)) == protocol.Ack()
    assert client.heartbeat(BEAT) == protocol.Ack()
    assert client.announce(protocol.Announce(worker_id="w")) == protocol.Ack()
    assert client.status() == {"queue": "echo"}


def test_an_error_reply_is_raised_as_what_it_means(running: Running, client: Client) -> None:
    for error in (UnknownTask("no t"), StorageFailure("later")):
        running.writer.handler = lambda _, error=error: protocol.error_reply(error)
        with pytest.raises(type(error), match=error.message):
            client.heartbeat(BEAT)


def test_an_answer_of_the_wrong_kind_is_a_protocol_error(running: Running, client: Client) -> None:
    running.writer.handler = lambda _: protocol.NoTask(done=True)
    with pytest.raises(ProtocolError, match="NoTask"):
        client.heartbeat(BEAT)


def test_a_request_for_a_task_gets_an_id_and_keeps_its_own(
    running: Running, client: Client
) -> None:
    running.writer.handler = lambda _: protocol.NoTask(done=False)
    for given in (None, None, "mine"):
        client.request_task(protocol.RequestTask(worker_id="w", request_id=given))
    first, second, third = (each.request_id for each in running.writer.heard)
    assert first
    assert second
    assert first != second
    assert third == "mine"


def test_waiting_for_a_task_is_not_running_out_of_time(running: Running) -> None:
    with via(running, "unix", timeout_seconds=0.2) as client:
        client.connect()
        asked = protocol.RequestTask(worker_id="w", wait=0.5)
        assert client.request_task(asked) == protocol.NoTask(done=False)


# --- pipelines ----------------------------------------------------------------------------------


def test_a_pipeline_answers_in_order_with_errors_in_their_places(
    running: Running, client: Client
) -> None:
    def handler(request: protocol.Request) -> protocol.Reply:
        bad = getattr(request, "worker_id", "") == "bad"
        return protocol.error_reply(UnknownTask("no")) if bad else acknowledge(request)

    running.writer.handler = handler
    names = ["a", "bad", "b"] * 100
    answers = client.pipeline([protocol.Heartbeat(worker_id=name) for name in names])
    for name, answer in zip(names, answers, strict=True):
        if name == "bad":
            assert isinstance(answer, UnknownTask)
        else:
            assert answer == protocol.Ack(cancel=[name])


def test_a_pipeline_shares_a_batch(running: Running, client: Client) -> None:
    client.connect()
    running.writer.open.clear()
    asking = threading.Thread(target=lambda: client.pipeline([BEAT] * 10))
    asking.start()
    wait_until(lambda: running._server._desk._in_flight == 10)
    running.writer.open.set()
    asking.join(SECONDS)
    assert len(running.writer.batches) == 1


def test_long_messages_and_long_answers_do_not_block_each_other(
    running: Running, client: Client
) -> None:
    running.writer.handler = lambda _: protocol.Ack(cancel=["y" * 300_000])
    long = protocol.TaskFailed(task_id="t", worker_id="w", error="x" * 2_000_000)
    answers = client.pipeline([BEAT, long, BEAT, BEAT, long, long] * 4)
    assert len(answers) == 24
    assert all(isinstance(answer, protocol.Ack) for answer in answers)


def test_an_empty_pipeline_needs_no_manager(home: Home) -> None:
    assert Client(home).pipeline([]) == []


def test_a_message_that_is_too_long_is_not_sent(running: Running, client: Client) -> None:
    long = protocol.TaskFailed(task_id="t", worker_id="w", error="x" * protocol.MAX_MESSAGE_BYTES)
    first, second, third = client.pipeline([BEAT, long, BEAT])
    assert isinstance(second, MessageTooLarge)
    assert "TaskFailed" in second.message
    assert (first, third) == (ACK, ACK)
    assert len(running.writer.heard) == 2


# --- finding the manager --------------------------------------------------------------------------


def test_no_manager(home: Home) -> None:
    with pytest.raises(ManagerUnreachable, match=r"no manager\.json.*sqlqueue serve") as caught:
        Client(home).heartbeat(BEAT)
    assert str(home.path) in caught.value.message
    assert caught.value.retryable


def test_a_dead_manager_is_described(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    keys.create(home)
    note = {"unix_socket": "manager.sock", "host": "127.0.0.1", "port": port, "pid": 4711}
    home.manager_file.write_text(json.dumps(note | {"hostname": socket.gethostname()}))
    with pytest.raises(ManagerUnreachable) as caught:
        Client(home).heartbeat(BEAT)
    for part in ("pid 4711", str(home.socket), f"127.0.0.1:{port}", "refused", "No such file"):
        assert part in caught.value.message


def test_a_manager_on_another_host_without_tcp(running: Running) -> None:
    edit_manager_file(running.home, hostname="elsewhere", host=None, port=None)
    with pytest.raises(ManagerUnreachable, match=r"elsewhere.*no TCP port.*serve --port 0"):
        Client(running.home).heartbeat(BEAT)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "{}", '{"unix_socket": 7}', '{"host": "localhost", "port": "x"}'],
)
def test_a_manager_file_that_makes_no_sense(home: Home, text: str) -> None:
    keys.create(home)
    home.manager_file.write_text(text)
    with pytest.raises(ManagerUnreachable):
        Client(home).heartbeat(BEAT)


def test_the_unix_socket_failing_tcp_is_tried(running: Running) -> None:
    edit_manager_file(running.home, unix_socket="gone.sock")
    with Client(running.home) as client:
        assert client.heartbeat(BEAT) == ACK


def test_a_long_path(tmp_path: Path) -> None:
    """The socket lies elsewhere, or in the home and is reached through its folder."""
    folder = tmp_path / ("d" * 60) / ("e" * 60)
    folder.mkdir(parents=True)
    home = Home(folder / NAME)
    home.create()
    with Running(home) as running:
        with Client(home) as client:
            assert client.heartbeat(BEAT) == ACK
        recorded = Path(str((home.manager() or {})["unix_socket"]))
        (home.path / "moved.sock").hardlink_to(recorded)
        edit_manager_file(home, unix_socket="moved.sock")
        with Client(home) as client:
            assert client.heartbeat(BEAT) == ACK
        assert running.connections >= 0


# --- over TCP ------------------------------------------------------------------------------------


def test_a_worker_s_token_is_a_worker(running: Running) -> None:
    with via(running, "address") as client, pytest.raises(NotAuthorised, match=r"worker may not"):
        client.request(protocol.Repair())
    with via(running, "home over tcp") as client:
        assert client.request(protocol.Repair()) == protocol.Ack(cancel=[""])


def test_a_wrong_secret(running: Running) -> None:
    token = f"{'x' * 43}.{running.keys.fingerprint}"
    client = Client(address=f"127.0.0.1:{running.port}", token=token)
    with client, pytest.raises(NotAuthorised, match="sqlqueue token"):
        client.heartbeat(BEAT)


def test_a_wrong_certificate_learns_no_secret(running: Running) -> None:
    token = f"{running.keys.worker}.{'0' * 64}"
    with Client(address=f"127.0.0.1:{running.port}", token=token) as client:
        with pytest.raises(NotAuthorised, match=r"another certificate.*sqlqueue token") as caught:
            client.heartbeat(BEAT)
        assert running.keys.fingerprint[:16] in caught.value.message
    wait_until(lambda: running.connections == 0)
    assert running.writer.heard == []


def test_another_queue_s_manager_on_the_recorded_port_is_no_manager(
    running: Running, tmp_path: Path
) -> None:
    """A port is used again by somebody else: that is not this queue's, but may pass."""
    (tmp_path / "other").mkdir()
    other = Home(tmp_path / "other" / NAME)
    other.create()
    keys.create(other)
    note = {"host": "127.0.0.1", "port": running.port, "hostname": "elsewhere", "pid": 1}
    other.manager_file.write_text(json.dumps(note))
    with pytest.raises(ManagerUnreachable, match="another certificate"):
        Client(other).heartbeat(BEAT)


@pytest.mark.parametrize(
    ("address", "token", "says"),
    [
        ("host", "t", "HOST:PORT"),
        (":1", "t", "HOST:PORT"),
        ("host:", "t", "HOST:PORT"),
        ("host:0", "t", "HOST:PORT"),
        ("host:65536", "t", "HOST:PORT"),
        ("host:4x", "t", "HOST:PORT"),
        ("host:1", None, "is not set"),
        ("host:1", "", "is not set"),
        ("host:1", "secret", "SECRET.FINGERPRINT"),
        ("host:1", "secret.abc", "SECRET.FINGERPRINT"),
    ],
)
def test_a_wrong_address_or_token_is_a_usage_error(
    address: str, token: str | None, says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        Client(address=address, token=token)


def test_an_address_in_brackets() -> None:
    client = Client(address="[::1]:7", token=f"s.{'0' * 64}")
    assert str(client._remote) == "[::1]:7"
    assert "s." not in repr(client._remote)


def test_nobody_at_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    client = Client(address=f"127.0.0.1:{port}", token=f"s.{'0' * 64}")
    with client, pytest.raises(ManagerUnreachable, match=rf"127\.0\.0\.1:{port}.*refused"):
        client.heartbeat(BEAT)


# --- connections that break -----------------------------------------------------------------------


def test_a_manager_that_was_restarted_is_found_again(home: Home) -> None:
    with Client(home) as client:
        for _ in range(3):
            with Running(home):
                assert client.heartbeat(BEAT) == ACK


class Peer:
    """Listens where a manager would, and does with each connection what the test says."""

    def __init__(self, home: Home, *acts: Callable[[socket.socket], None]) -> None:
        self.acts = acts
        self.served = 0
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(home.socket))
        self._listening.listen()
        note = {"unix_socket": "manager.sock", "hostname": socket.gethostname(), "pid": 1}
        home.manager_file.write_text(json.dumps(note))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        for act in self.acts:
            connection, _ = self._listening.accept()
            self.served += 1
            connection.settimeout(SECONDS)
            with connection:
                act(connection)

    def has_more(self) -> bool:
        """Whether somebody connected beyond the acts."""
        self._thread.join(SECONDS)
        self._listening.setblocking(False)
        try:
            self._listening.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def join(self) -> None:
        self._thread.join(SECONDS)
        self._listening.close()


@contextmanager
def peer(home: Home, *acts: Callable[[socket.socket], None]) -> Iterator[Peer]:
    it = Peer(home, *acts)
    try:
        yield it
    finally:
        it.join()


def hang_up(connection: socket.socket) -> None:
    connection.recv(65536)


def hang_up_at_once(_: socket.socket) -> None:
    return


HEARD: list[str] = []
"""What `answer_all` was asked, last."""


def answer_all(connection: socket.socket) -> None:
    HEARD.clear()
    for line in connection.makefile():
        HEARD.append(line)
        connection.sendall(b'{"type":"ack"}\n')


def answer_two(connection: socket.socket) -> None:
    lines = connection.makefile()
    lines.readline()
    lines.readline()
    connection.sendall(b'{"type":"ack"}\n{"type":"ack"}\n{"type":"a')


def stay_silent(connection: socket.socket) -> None:
    assert connection.recv(65536)
    assert connection.recv(65536) == b""


@pytest.mark.parametrize("first", [hang_up, hang_up_at_once])
def test_a_connection_that_breaks_is_made_anew_once(
    home: Home, first: Callable[[socket.socket], None]
) -> None:
    with peer(home, first, answer_all) as manager:
        with Client(home, timeout_seconds=SECONDS) as client:
            assert client.heartbeat(BEAT) == protocol.Ack()
            assert client.heartbeat(BEAT) == protocol.Ack()
        assert manager.served == 2


def test_the_same_request_is_sent_again(home: Home) -> None:
    heard: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        heard.append(connection.recv(65536))

    with peer(home, listen, listen), pytest.raises(ManagerUnreachable), Client(home) as client:
        client.request_task(protocol.RequestTask(worker_id="w"))
    assert heard[0] == heard[1]
    assert json.loads(heard[0])["request_id"]


def test_it_is_not_tried_for_ever(home: Home) -> None:
    with peer(home, hang_up, hang_up) as manager, Client(home) as client:
        with pytest.raises(ManagerUnreachable, match="hung up 2 times"):
            client.heartbeat(BEAT)
        assert manager.served == 2


def test_only_what_was_not_answered_is_sent_again(home: Home) -> None:
    with peer(home, answer_two, answer_all), Client(home) as client:
        names = [protocol.Heartbeat(worker_id=f"w{i}") for i in range(5)]
        assert client.pipeline(names) == [protocol.Ack()] * 5
    assert [f"w{i}" for i in range(2, 5)] == [json.loads(each)["worker_id"] for each in HEARD]


def test_what_was_answered_before_it_broke_for_good_is_kept(home: Home) -> None:
    with peer(home, answer_two, hang_up), Client(home) as client:
        first, second, third, fourth = client.pipeline([BEAT] * 4)
        assert (first, second) == (protocol.Ack(), protocol.Ack())
        assert isinstance(third, ManagerUnreachable)
        assert isinstance(fourth, ManagerUnreachable)


def test_silence_is_not_answered_by_asking_again(home: Home) -> None:
    with peer(home, stay_silent) as manager, Client(home, timeout_seconds=0.05) as client:
        with pytest.raises(ManagerUnreachable, match=r"within 0\.05 s"):
            client.heartbeat(BEAT)
        assert not manager.has_more()


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n", b"{}\n", b"[1]\n", b"\xff\n"])
def test_a_peer_that_talks_nonsense(home: Home, said: bytes) -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(said)

    with peer(home, talk), Client(home) as client, pytest.raises(ProtocolError):
        client.heartbeat(BEAT)


def test_a_peer_that_never_ends_its_line_is_left(home: Home) -> None:
    def babble(connection: socket.socket) -> None:
        with pytest.raises(OSError, match=r"[Bb]roken pipe|reset"):
            while True:
                connection.sendall(b"x" * 1_000_000)

    says = "no line end"
    with peer(home, babble), Client(home) as client, pytest.raises(ProtocolError, match=says):
        client.heartbeat(BEAT)


# --- waiting for a manager ----------------------------------------------------------------------


def test_waiting_ends_when_there_is_a_manager(home: Home) -> None:
    heard: list[str] = []
    waiting = threading.Event()
    found: list[bool] = []

    def notify(text: str) -> None:
        heard.append(text)
        waiting.set()

    def wait() -> None:
        found.append(wait_for_manager(home, threading.Event(), notify))

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(SECONDS)
    with Running(home):
        thread.join(SECONDS)
    assert found == [True]
    assert "no manager.json" in heard[0]
    assert len(heard) == len(set(heard)), "each reason once"


def test_waiting_ends_when_told_so(home: Home) -> None:
    stop = threading.Event()
    assert wait_for_manager(home, stop, lambda _: stop.set()) is False


def test_a_stop_cuts_a_long_pause_short(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "FIRST_PAUSE_SECONDS", 60.0)
    monkeypatch.setattr(client_module, "LONGEST_PAUSE_SECONDS", 60.0)
    stop, told = threading.Event(), threading.Event()
    found: list[bool] = []
    thread = threading.Thread(
        target=lambda: found.append(wait_for_manager(home, stop, lambda _: told.set()))
    )
    thread.start()
    assert told.wait(SECONDS)
    stop.set()
    thread.join(SECONDS)
    assert found == [False]


def test_waiting_does_not_wait_for_what_waiting_does_not_mend(running: Running) -> None:
    token = f"{'x' * 43}.{running.keys.fingerprint}"
    client = Client(address=f"127.0.0.1:{running.port}", token=token)
    with pytest.raises(NotAuthorised):
        wait_for_manager(client, threading.Event(), lambda _: None)


# --- the module -----------------------------------------------------------------------------------


def test_the_client_is_light() -> None:
    heavy = "{'torch', 'pandas', 'sqlalchemy', 'asyncio', 'ssl', 'cryptography', 'numpy'}"
    code = f"import sys, sqlqueue.worker.client; sys.exit(str({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "set()"


def test_a_client_needs_one_place_to_go(home: Home) -> None:
    for arguments in ({}, {"home": home, "address": "h:1", "token": f"s.{'0' * 64}"}):
        with pytest.raises(ValueError, match="a home or an address"):
            Client(**arguments)  # type: ignore[arg-type]


def test_errors_are_queue_errors(home: Home) -> None:
    (answer,) = Client(home).pipeline([BEAT])
    assert isinstance(answer, QueueError)
