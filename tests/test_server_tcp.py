"""TCP: always encrypted, hello first and soon, roles by secret, strangers bounded."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import uvloop
from serving import QUICK, Running, ask, at_end, heartbeat, receive, send

from sqlqueue.errors import UsageError
from sqlqueue.home import Home
from sqlqueue.manager import listen
from support import wait_until


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def running(request: pytest.FixtureRequest, home: Home) -> Iterator[Running]:
    with Running(home, new_loop=request.param, host="127.0.0.1", port=0) as it:
        yield it


@pytest.fixture
def strict(home: Home) -> Callable[..., Running]:
    """A server with limits of the test's own."""
    return lambda **limits: Running(home, host="127.0.0.1", limits=replace(QUICK, **limits))


def hello(token: str) -> dict[str, str]:
    return {"type": "hello", "token": token}


def ack() -> dict[str, object]:
    return {"type": "ack", "cancel": ["w"]}


ADD = {"type": "add_tasks", "tasks": []}
OWNERS = [
    {"type": "describe_experiments", "names": []},
    {"type": "prepare_directories", "output_dirs": []},
    ADD,
    {"type": "repair"},
]


def test_the_certificate_is_the_home_s(running: Running) -> None:
    with running.tcp() as client:
        der = client.getpeercert(binary_form=True)
        assert der
        assert hashlib.sha256(der).hexdigest() == running.keys.fingerprint
        assert client.version() in {"TLSv1.2", "TLSv1.3"}


@pytest.mark.parametrize("role", ["owner", "worker"])
@pytest.mark.parametrize("fingerprint", ["", ".0123"])
def test_the_secret_says_the_role(running: Running, role: str, fingerprint: str) -> None:
    with running.tcp() as client:
        secret = getattr(running.keys, role)
        assert ask(client, hello(secret + fingerprint)) == {"type": "welcome", "role": role}
        assert ask(client, heartbeat()) == ack()
        assert ask(client, hello("again")) == {"type": "welcome", "role": role}


def test_hello_and_more_in_one_piece_without_the_last_line_end(running: Running) -> None:
    with running.tcp() as client:
        message = json.dumps({**heartbeat(), "filler": "x" * 100_000}).encode()
        send(client, hello(running.keys.worker), message, end=b"\n")
        send(client, heartbeat(), end=b"")
        answers = receive(client, 3)
        assert [each["type"] for each in answers] == ["welcome", "ack", "ack"]


@pytest.mark.parametrize("message", OWNERS, ids=lambda each: each["type"])
def test_a_worker_may_not_say_what_is_the_owner_s(running: Running, message: dict) -> None:
    with running.tcp() as client:
        ask(client, hello(running.keys.worker))
        answer = ask(client, message)
        assert answer["code"] == "not_authorised"
        assert repr(message["type"]) in answer["message"]
        assert ask(client, heartbeat()) == ack()
    with running.tcp() as client:
        ask(client, hello(running.keys.owner))
        assert ask(client, message)["type"] == "ack"
    assert len(running.writer.heard) == 2, "what was refused did not reach the writer"


@pytest.mark.parametrize(
    ("first", "code"),
    [
        (hello("wrong"), "not_authorised"),
        (hello(""), "not_authorised"),
        (heartbeat(), "not_authorised"),
        ({"type": "status"}, "not_authorised"),
        (ADD, "not_authorised"),
        (b"GET / HTTP/1.1", "not_authorised"),
        (hello("x" * 1001), "not_authorised"),
        (hello("x" * 5000), "not_authorised"),
        (b"x" * 5000, "not_authorised"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_whoever_does_not_say_hello_is_told_and_let_go(
    running: Running, first: dict | bytes, code: str
) -> None:
    with running.tcp() as client:
        send(client, first, hello(running.keys.owner))
        assert receive(client, 1)[0]["code"] == code
        client.settimeout(QUICK.linger_seconds + 5)
        client.close()
    wait_until(lambda: running.connections == 0)
    assert running.writer.heard == []


def test_nothing_after_a_refused_hello_is_heard(running: Running) -> None:
    with running.tcp() as client:
        send(client, hello("wrong"), heartbeat(), hello(running.keys.owner), heartbeat())
        assert receive(client, 1)[0]["code"] == "not_authorised"
    assert running.writer.heard == []


def test_a_refused_client_that_stays_is_cut_off(strict: Callable[..., Running]) -> None:
    with strict(linger_seconds=0.05) as running, running.tcp() as client:
        assert ask(client, hello("wrong"))["code"] == "not_authorised"
        assert at_end(client)


@pytest.mark.parametrize("said", [b"", b'{"type": "hello"', b" "])
def test_hello_must_come_soon(strict: Callable[..., Running], said: bytes) -> None:
    with strict(hello_seconds=0.2, linger_seconds=0.05) as running:
        with running.tcp() as client:
            client.sendall(said)
            assert receive(client, 1)[0]["code"] == "not_authorised"
            assert at_end(client)
        with running.tcp() as client:
            assert ask(client, hello(running.keys.worker))["type"] == "welcome"


def test_a_client_that_has_said_hello_may_be_silent(strict: Callable[..., Running]) -> None:
    with strict(hello_seconds=0.2, linger_seconds=0.05) as running:
        client, silent = running.tcp(), running.tcp()
        assert ask(client, hello(running.keys.worker))["type"] == "welcome"
        assert receive(silent, 1)[0]["code"] == "not_authorised"
        assert ask(client, heartbeat()) == ack()
        client.close()
        silent.close()


@pytest.mark.parametrize(
    "said", [b"", b"hello\n", b"\x16\x03\x01\x02", json.dumps(heartbeat()).encode()]
)
def test_a_client_without_tls_gets_nothing(strict: Callable[..., Running], said: bytes) -> None:
    with strict(hello_seconds=0.2) as running:
        with running.plain_tcp() as plain:
            plain.sendall(said)
            try:
                answer = plain.recv(1000)
            except ConnectionError:
                answer = b""
            assert b"type" not in answer
        assert running.writer.heard == []
        with running.tcp() as client:
            assert ask(client, hello(running.keys.worker))["type"] == "welcome"


def test_old_tls_is_refused(running: Running) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning):
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError), running.tcp(context):
        pass


def test_strangers_are_bounded_and_others_do_not_notice(strict: Callable[..., Running]) -> None:
    with strict(strangers=3, hello_seconds=2.0, stranger_seconds=0.0) as running:
        with running.tcp() as known:
            assert ask(known, hello(running.keys.worker))["type"] == "welcome"
            strangers = [running.plain_tcp() for _ in range(6)]
            door = running._server._doors[1]
            wait_until(lambda: len(door._strangers) == 3)
            assert ask(known, heartbeat()) == ack()
            with running.unix() as local:
                assert ask(local, heartbeat()) == ack()
            assert len(door._strangers) == 3
            for each in strangers:
                each.close()
            with running.tcp() as late:
                assert ask(late, hello(running.keys.worker))["type"] == "welcome"
        wait_until(lambda: not door._strangers)


def test_a_handshake_that_never_ends_gives_its_place_back(strict: Callable[..., Running]) -> None:
    with strict(strangers=1, hello_seconds=0.1, stranger_seconds=0.0) as running:
        with running.plain_tcp(), running.tcp() as client:
            assert ask(client, hello(running.keys.worker))["type"] == "welcome"
        assert running.stop() == 0


def test_half_closing_with_tls_still_commits_what_was_sent(running: Running) -> None:
    with running.tcp() as client:
        assert ask(client, hello(running.keys.worker))["type"] == "welcome"
        send(client, heartbeat("a"), heartbeat("b"))
    wait_until(lambda: len(running.writer.heard) == 2)


def test_manager_json_says_where(running: Running) -> None:
    found = running.home.manager()
    assert found
    assert found["host"] == "127.0.0.1"
    assert found["port"] > 0
    assert found["fingerprint"] == running.keys.fingerprint


def test_a_port_alone_means_all_interfaces(home: Home) -> None:
    with Running(home, port=0) as running:
        found = home.manager()
        assert found
        assert found["host"] == socket.gethostname()
        with running.tcp() as client:
            assert ask(client, hello(running.keys.worker))["type"] == "welcome"


def test_a_port_that_is_taken_is_named(home: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        says = rf"port {port}: Address already in use.*--port"
        with pytest.raises(UsageError, match=says), Running(home, host="127.0.0.1", port=port):
            pass
    assert home.manager() is None
    assert not home.socket.exists()


@pytest.mark.parametrize(
    ("host", "port", "says"),
    [
        ("no.such.host.invalid", 0, "no.such.host.invalid"),
        ("203.0.113.7", 0, "203.0.113.7"),
        ("127.0.0.1", 65536, "65536"),
        (None, -1, "-1"),
    ],
)
def test_an_address_that_cannot_be_is_a_usage_error(host: str | None, port: int, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        listen.bind_tcp(host, port, 1)
    assert says in caught.value.message
    assert "--port" in caught.value.message


def test_idle_clients_do_not_keep_it_from_stopping(running: Running) -> None:
    with running.tcp() as idle, running.tcp() as stranger, running.plain_tcp():
        assert ask(idle, hello(running.keys.worker))["type"] == "welcome"
        assert running.stop() == 0
        assert at_end(idle)
        assert at_end(stranger)


def test_the_worker_that_holds_most_of_the_memory_is_dropped(
    strict: Callable[..., Running],
) -> None:
    """Each alone is below every bound of its own; together they are too much."""
    with strict(total_bytes=100_000) as running, running.tcp() as small, running.tcp() as large:
        for client in (small, large):
            assert ask(client, hello(running.keys.worker))["type"] == "welcome"
        with running.unix() as owner:
            send(small, b'{"type": "' + b"x" * 20_000, end=b"")
            send(large, b'{"type": "' + b"x" * 60_000, end=b"")
            send(owner, b'{"type": "' + b"x" * 70_000, end=b"")
            assert at_end(large)
            send(small, b'"}')
            assert receive(small, 1)[0]["code"] == "bad_message"
            send(owner, b'"}')
            assert receive(owner, 1)[0]["code"] == "bad_message"


def test_a_refused_stranger_may_not_go_on_sending(strict: Callable[..., Running]) -> None:
    with strict(linger_seconds=60.0, unheard_bytes=10_000) as running, running.tcp() as client:
        assert ask(client, hello("wrong"))["code"] == "not_authorised"
        with pytest.raises(OSError, match=r"[Bb]roken pipe|reset|EOF"):
            for _ in range(10_000):
                client.sendall(b"x" * 10_000)
