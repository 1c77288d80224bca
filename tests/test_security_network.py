"""What another host can do to a live manager over TCP: every sentence of docs/SECURITY.md.

A real `sqlqueue serve` and a second network namespace.  Time limits that take the real ten
seconds are marked slow; with shorter ones they are in `test_server_tcp.py`.
"""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import psutil
import pytest
from acceptance import snapshot
from bad_inputs import GOOD, REQUESTS
from elsewhere import Elsewhere, another_host, context

from sqlqueue import keys, protocol
from sqlqueue.errors import NotAuthorised
from sqlqueue.home import NAME, Home
from sqlqueue.manager.limits import DEFAULT
from sqlqueue.manager.listen import tls_context
from sqlqueue.worker import dial
from support import Cli, ManagerProcess, connect, environment, exchange, wait_until

EXPERIMENT = """\
import os
def measure(seed: int) -> dict:
    with open("/proc/self/cmdline", "rb") as file:
        command = file.read()
    parents = []
    pid = os.getpid()
    told = {f"child_{name}": value for name, value in os.environ.items()}
    with open("child.txt", "w") as file:
        file.write(repr((told, command)))
    with open("/proc/self/environ", "rb") as file, open("child.environ", "wb") as copy:
        copy.write(file.read())
    return {"value": seed}
"""
SWEEP = """\
defaults: {output_dir: results, experiment: "look:measure"}
look: {combinations: [{seed: [1, 2, 3]}]}
"""
ALLOWED = ("announce", "request_task", "submit_result", "task_failed", "release", "heartbeat",
           "status")  # fmt: skip
"""What a worker may say, as docs/PROTOCOL.md tells it."""


@dataclass
class Site:
    """A queue whose manager listens on an address that the other host reaches."""

    manager: ManagerProcess
    there: Elsewhere

    @property
    def home(self) -> Home:
        return self.manager.home

    @property
    def port(self) -> int:
        return int((self.home.manager() or {})["port"])

    @property
    def keys(self) -> keys.Keys:
        return keys.load(self.home)

    def tls(self, number: int = 0) -> ssl.SSLSocket:
        """No hello said yet.  Who finds no place at the door comes again, as a worker does."""
        return wait_until(lambda: self._try(number), 5, "a place at the manager's door")

    def _try(self, number: int) -> ssl.SSLSocket | None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            return self.there.tls(self.port, number)
        return None

    def worker(self) -> ssl.SSLSocket:
        """A connection that has said hello with the worker's secret."""
        wire = self.tls()
        assert asked(wire, {"type": "hello", "token": self.keys.worker})["role"] == "worker"
        return wire

    def owner(self, message: dict[str, Any]) -> dict[str, Any]:
        with connect(self.manager.socket_path) as wire:
            return exchange(wire, message)

    @property
    def descriptors(self) -> int:
        assert self.manager.process
        return psutil.Process(self.manager.process.pid).num_fds()

    def tables(self) -> dict[str, list[Any]]:
        """Every row of the database, the epoch's apart."""
        with closing(sqlite3.connect(f"file:{self.home.database}?mode=ro", uri=True)) as base:
            names = [name for (name,) in base.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]  # fmt: skip
            return {name: base.execute(f"SELECT * FROM {name}").fetchall() for name in names}

    def names(self) -> set[str]:
        """Every name below the root, what SQLite and the log of the manager come to apart."""
        root = self.home.root
        return {str(path.relative_to(root)) for path in root.rglob("*")}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    root = tmp_path_factory.mktemp("net")
    (root / "look.py").write_text(EXPERIMENT)
    (root / "look.yaml").write_text(SWEEP)
    cli = Cli(root, environment(tmp_path_factory.mktemp("state")))
    with another_host() as there:
        cli.set_up("init", "look.yaml")
        manager = ManagerProcess(Home(root / NAME), cli, root / "manager.output")
        manager.start("--host", there.here, "--port", "0", "--verbose")
        yield Site(manager, there)
        assert manager.stop() == 0
        assert "Traceback" not in manager.said


@pytest.fixture
def site(shared: Site) -> Iterator[Site]:
    """The same for all, which must be as it was when the test leaves."""
    before = shared.tables()
    yield shared
    assert shared.tables() == before
    wait_until(lambda: shared.owner({"type": "status"})["type"] == "status")


def said_back(wire: socket.socket) -> bytes:
    """All that is heard until the other side hangs up."""
    heard = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while piece := wire.recv(65536):
            heard += piece
    return heard


def answered(wire: socket.socket) -> bytes:
    """One line; what may come after it, nobody waits for."""
    heard = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while not heard.endswith(b"\n") and (piece := wire.recv(65536)):
            heard += piece
    return heard


def asked(wire: socket.socket, message: Any) -> dict[str, Any]:
    wire.sendall(message if isinstance(message, bytes) else json.dumps(message).encode() + b"\n")
    heard = b""
    while not heard.endswith(b"\n"):
        piece = wire.recv(65536)
        assert piece, f"hung up after {heard!r}"
        heard += piece
    found: dict[str, Any] = json.loads(heard)
    return found


# --- TLS, and nothing else ----------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b'{"type": "status"}\n',
        b"\x16\x03\x01\x00\x05hello",
        b"SSH-2.0-x\r\n" + b"x" * 5000,
    ],
    ids=["http", "json", "half a handshake", "ssh"],
)
def test_who_speaks_no_tls_gets_not_one_byte(site: Site, said: bytes) -> None:
    with site.there.connect(site.port) as plain:
        plain.sendall(said)
        plain.shutdown(socket.SHUT_WR)
        assert said_back(plain) == b""


def test_the_right_secret_in_plain_text_gets_not_one_byte(site: Site) -> None:
    with site.there.connect(site.port) as plain:
        plain.sendall(json.dumps({"type": "hello", "token": site.keys.owner}).encode() + b"\n")
        plain.shutdown(socket.SHUT_WR)
        assert said_back(plain) == b""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_old_tls_is_refused(site: Site) -> None:
    old = context()
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with site.there.connect(site.port) as plain, pytest.raises((ssl.SSLError, ConnectionError)):
        old.wrap_socket(plain)


def test_a_worker_says_nothing_to_another_certificate(site: Site, tmp_path: Path) -> None:
    """The very address and port that it was told, but another manager's certificate."""
    other = Home(tmp_path / NAME)
    other.create()
    keys.create(other)
    with Impostor(site.there.here, other) as impostor:
        where = dial.remote(f"{site.there.here}:{impostor.port}", keys.worker_token(site.home))
        with pytest.raises(NotAuthorised, match="another certificate"):
            site.there.inside(lambda: where.dial(5.0))
    assert impostor.heard == [b""], "the secret was told to whoever answered"


class Impostor(threading.Thread):
    """Speaks TLS with the certificate of another home, and keeps what it hears."""

    def __init__(self, host: str, home: Home) -> None:
        super().__init__(daemon=True)
        self._tls = tls_context(home.path / keys.CERTIFICATE)
        self._bound = socket.create_server((host, 0))
        self._bound.settimeout(10)
        self.port = self._bound.getsockname()[1]
        self.heard: list[bytes] = []

    def run(self) -> None:
        with self._bound.accept()[0] as plain, self._tls.wrap_socket(plain, True) as wire:
            wire.settimeout(10)
            self.heard.append(said_back(wire))

    def __enter__(self) -> Impostor:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.join(10)
        self._bound.close()


def test_the_command_refuses_another_certificate_too(site: Site) -> None:
    secret, _, fingerprint = keys.worker_token(site.home).partition(".")
    token = f"{secret}.{fingerprint[::-1]}"
    done = site.manager.cli("work", "--cpu", "--manager", f"{site.there.here}:{site.port}",
                            SQLQUEUE_TOKEN=token)  # fmt: skip
    assert done.returncode != 0
    assert "another certificate" in done.stderr
    assert secret not in done.stdout + done.stderr


# --- secrets ------------------------------------------------------------------------------


def test_no_other_secret_opens(site: Site) -> None:
    owner, worker = site.keys.owner, site.keys.worker
    wrong = ["", " ", worker[:-1], worker[1:], worker + "x", worker.swapcase(), f" {worker}",
             f"{worker}\n", f"{worker}\0", owner[:-1], owner + worker, worker[::-1], "*", "null",
             site.keys.fingerprint, f".{site.keys.fingerprint}", "é" * 43]  # fmt: skip
    answers = set()
    for token in wrong:
        with site.tls() as wire:
            wire.sendall(json.dumps({"type": "hello", "token": token}).encode() + b"\n")
            answers.add(answered(wire))
    (only,) = answers
    assert json.loads(only)["code"] == "not_authorised"


def test_a_token_that_was_rotated_away_opens_nothing(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "look.yaml").write_text(SWEEP)
    (tmp_path / "look.py").write_text(EXPERIMENT)
    cli.set_up("init", "look.yaml")
    home = Home(tmp_path / NAME)
    before = keys.load(home)
    old = cli.ok("token").strip()
    new = cli.ok("token", "--rotate").strip()
    assert new == cli.ok("token").strip()
    after = keys.load(home)
    assert {before.owner, before.worker, before.fingerprint}.isdisjoint(
        {after.owner, after.worker, after.fingerprint}
    )
    assert after.role_of(old) is None
    assert after.role_of(new) == "worker"
    for name in (keys.CERTIFICATE, keys.OWNER, keys.WORKER):
        assert (home.path / name).stat().st_mode & 0o777 == 0o600


def test_keys_do_not_change_under_a_running_manager(site: Site) -> None:
    before = site.keys
    done = site.manager.cli("token", "--rotate")
    assert done.returncode != 0
    assert "is in use by sqlqueue serve" in done.stderr
    assert site.keys == before


def test_secrets_show_nowhere(shared: Site, tmp_path: Path) -> None:
    """A worker on the other host works for real; then everything that can be read is read."""
    site, token = shared, keys.worker_token(shared.home)
    for secret in ("wrong-but-secret-7f3a", site.keys.owner[::-1]):
        with site.tls() as wire:
            wire.sendall(json.dumps({"type": "hello", "token": secret}).encode() + b"\n")
            answered(wire)
    output = tmp_path / "worker.output"
    folder = tmp_path / "there"
    folder.mkdir()
    (folder / "look.py").write_text(EXPERIMENT)
    worker = start_elsewhere(site, folder, token, output)
    seen: set[bytes] = set()
    wait_until(lambda: seen.update(commands()) or done(site) == 3, 60, "three results")
    assert worker.wait(30) == 0, output.read_text()
    told = b"\n".join(
        [*seen, output.read_bytes(), (folder / "child.txt").read_bytes(),
         (folder / "child.environ").read_bytes(), site.manager.cli.ok("status").encode(),
         json.dumps(site.owner({"type": "status"})).encode(),
         site.manager.cli.ok("doctor", "--json").encode()]
    )  # fmt: skip
    kept = {keys.OWNER, keys.WORKER, keys.CERTIFICATE}
    files = [path for base in (site.home.root, tmp_path) for path in base.rglob("*")
             if path.is_file() and path.name not in kept]  # fmt: skip
    told += b"\n".join(path.read_bytes() for path in files)
    assert len(files) > 15
    assert b"child_PATH" in told, "the child's environment was looked at"
    for secret in (site.keys.owner, site.keys.worker, site.keys.owner[::-1], "wrong-but-secret"):
        assert secret.encode() not in told


def commands() -> list[bytes]:
    """What `ps` shows of every process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes())
    return found


def start_elsewhere(site: Site, folder: Path, token: str, output: Path) -> subprocess.Popen[bytes]:
    words = site.there.command(sys.executable, "-m", "sqlqueue", "work", "--cpu", "--verbose",
                               "--manager", f"{site.there.here}:{site.port}")  # fmt: skip
    own = environment(folder / "state", {"SQLQUEUE_TOKEN": token})
    with output.open("ab") as sink:
        return subprocess.Popen(words, cwd=folder, env=own, stdout=sink, stderr=sink)


def done(site: Site) -> int:
    return int(site.owner({"type": "status"})["status"]["totals"]["completed"])


# --- the worker's role --------------------------------------------------------------------


def test_a_worker_may_say_what_is_written_and_nothing_more(site: Site) -> None:
    owners = {str(each.__struct_config__.tag) for each in protocol.OWNER_ONLY}
    assert {*ALLOWED, "hello", *owners} == set(REQUESTS), "a new message: whose is it?"
    with site.worker() as wire:
        for tag in sorted(owners):
            found = asked(wire, {"type": tag, **GOOD[tag]})
            assert (found["type"], found["code"]) == ("error", "not_authorised"), tag


def test_a_connection_stays_what_it_was(site: Site) -> None:
    with site.worker() as wire:
        again = asked(wire, {"type": "hello", "token": site.keys.owner})
        assert again == {"type": "welcome", "role": "worker"}
        assert asked(wire, {"type": "add_tasks", **GOOD["add_tasks"]})["code"] == "not_authorised"


def test_no_message_of_a_worker_says_what_runs_or_where() -> None:
    """What is stored of a worker's message cannot become code, a command or a folder."""
    for tag in ALLOWED:
        for name in REQUESTS[tag].__struct_fields__:
            assert name not in {"experiment", "experiments", "command", "function", "config",
                                "parameters", "output_dir", "output_dirs", "path"}  # fmt: skip
    assert set(get_args(protocol.Request)) == set(REQUESTS.values())


def test_fields_that_are_not_the_worker_s_to_say_are_ignored(site: Site) -> None:
    """A result that names other code, and other folders, changes neither."""
    extra = {"experiment": "os:system", "config": {"seed": 7}, "output_dirs": ["/tmp/elsewhere"],
             "output_dir": "../../elsewhere", "command": "id"}  # fmt: skip
    before = site.tables()["tasks"]
    with site.worker() as wire:
        beat = {"type": "heartbeat", "worker_id": "w", "tasks": [], **extra}
        assert asked(wire, beat)["type"] == "ack"
        lost = {"type": "submit_result", "task_id": "none_0_1", "worker_id": "w",
                "result_data": {"a": 1}, **extra}  # fmt: skip
        assert asked(wire, lost)["type"] == "error"
    assert site.tables()["tasks"] == before


# --- strangers ----------------------------------------------------------------------------


def everything_that_can_be_said() -> list[bytes]:
    """Every message, good, malformed, cut and too long; and what is none."""
    said = [json.dumps({"type": tag, **GOOD[tag]}).encode() for tag in REQUESTS if tag != "hello"]
    said += [text[: len(text) // 2] for text in said[:3]]
    said += [b'{"type": "nonsense"}', b"{}", b"[]", b"null", b"\xff\xfe", b"{" * 200, b"\x00",
             b'{"type": "hello"}', b'{"type": "hello", "token": 7}', b"x" * 5000,
             b'{"type": "hello", "token": "' + b"x" * 2000 + b'"}',
             b'{"type": "hello", "token": "no"}']  # fmt: skip
    return [text + b"\n" for text in said]


def test_whatever_is_said_the_answer_is_the_same(site: Site) -> None:
    answers = set()
    for said in everything_that_can_be_said():
        with site.tls() as wire:
            wire.sendall(said)
            answers.add(answered(wire))
    (only,) = answers
    found = json.loads(only)
    assert (found["type"], found["code"]) == ("error", "not_authorised")
    told = json.dumps(found)
    for word in (str(site.home.root), "sqlqueue", "look", "0.1", socket.gethostname()):
        assert word not in told


def test_a_stranger_stores_nothing(site: Site) -> None:
    """Not a byte in the home or beside it, the log of the manager apart; and that says little."""
    said_before = len(site.manager.said)
    before = settled(site)
    for said in [*everything_that_can_be_said(), b"../../canary", b"\x1b[2Jcanary\n"]:
        with site.tls() as wire:
            wire.sendall(said)
            wire.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: settled(site) == before, 5, "the home being as it was")
    logged = site.manager.said[said_before:]
    assert "canary" not in logged
    assert "trial:measure" not in logged
    assert "\x1b" not in logged


def settled(site: Site) -> dict[str, Any]:
    found = snapshot(site.home.root)
    found.pop("manager.output")
    return found


def test_before_the_hello_a_message_is_small(site: Site) -> None:
    """A peer that goes on and on is cut off after a few kilobytes, whatever it sends."""
    with site.tls() as wire, contextlib.suppress(ConnectionError, ssl.SSLError):
        sent = 0
        wire.settimeout(5)
        wire.sendall(b" " * protocol.MAX_HELLO_BYTES + b"x" * 10)
        assert json.loads(wire.recv(65536))["code"] == "not_authorised"
        while sent < 64 << 20:
            sent += wire.send(b"x" * 65536)
        pytest.fail("it may send for ever")


def test_strangers_have_few_places_and_a_worker_always_finds_one(site: Site) -> None:
    before, strangers = site.descriptors, []
    try:
        for _ in range(300):
            strangers.append(site.there.connect(site.port))
        wait_until(lambda: site.descriptors <= before + DEFAULT.strangers_of_one_host + 2, 5)
        begun = time.monotonic()
        with site.there.tls(site.port, 1) as wire:
            assert asked(wire, {"type": "hello", "token": site.keys.worker})["type"] == "welcome"
        assert time.monotonic() - begun < 1, "another host has its own places"
        begun = time.monotonic()
        site.worker().close()
        assert time.monotonic() - begun < 5, "the same host's places become free"
    finally:
        for each in strangers:
            each.close()
    wait_until(lambda: site.descriptors <= before, 5, "all places being free again")


@pytest.mark.slow
@pytest.mark.parametrize("how", ["no handshake", "no hello", "a byte a second"])
def test_a_stranger_has_ten_seconds(site: Site, how: str) -> None:
    wire = site.there.connect(site.port) if how == "no handshake" else site.tls()
    begun = time.monotonic()
    with wire:
        wire.settimeout(1)
        while time.monotonic() - begun < 30:
            try:
                if how == "a byte a second":
                    wire.sendall(b" ")
                if wire.recv(65536) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
    assert protocol.HELLO_SECONDS - 1 < time.monotonic() - begun < protocol.HELLO_SECONDS + 7


# --- names from the wire ------------------------------------------------------------------

HOSTILE = [
    "../../escaped", "..", ".", "/tmp/sqlqueue-escaped", "a/../../../escaped", "a\0b", "a\nb",
    "~/escaped", "..\\escaped", "$(touch escaped)", "`touch escaped`", "; touch escaped", "x" * 300,
    "é" * 300, "link", "link/escaped", "\x1b]0;title\x07", "\u202egnp.exe", "%2e%2e%2fescaped",
    "-rf", "{task_id}", "%s%n", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE, ids=lambda each: ascii(each)[:30])
def test_no_name_from_the_wire_becomes_a_path(shared: Site, name: str, tmp_path: Path) -> None:
    """In every field of every message that a worker may say."""
    site, target = shared, tmp_path / "target"
    target.mkdir()
    links = [folder / "link" for folder in (site.home.logs, site.home.attempts, site.home.workers,
             site.home.unsubmitted, site.home.checkpoints)]  # fmt: skip
    for link in links:
        link.symlink_to(target)
    before = site.names()
    try:
        with site.worker() as wire:
            for message in hostile_messages(name):
                answer = asked(wire, message)
                assert answer["type"] in {"ack", "error", "no_task", "status", "task", "tasks"}
                if answer["type"] in {"task", "tasks"}:
                    given = answer.get("tasks", [answer])
                    for each in given:
                        asked(wire, {"type": "release", "task_id": each["task_id"],
                                     "attempt": each["attempt"], "worker_id": name})  # fmt: skip
        assert site.names() == before
        assert not list(target.iterdir())
    finally:
        for link in links:
            link.unlink()
    assert not Path("/tmp/sqlqueue-escaped").exists()


def hostile_messages(name: str) -> list[dict[str, Any]]:
    """The name in each text of each message, one at a time; in all of them at once."""
    found = []
    for tag in ALLOWED:
        texts = {key: name for key, value in GOOD[tag].items() if isinstance(value, str)}
        texts |= dict.fromkeys(("host", "device", "code_version", "log_file", "request_id"), name)
        known = set(REQUESTS[tag].__struct_fields__)
        texts = {key: value for key, value in texts.items() if key in known}
        found.append({"type": tag, **GOOD[tag], **texts})
        found += [{"type": tag, **GOOD[tag], key: value} for key, value in texts.items()]
    found.append({"type": "heartbeat", "worker_id": "w", "tasks": [{"task_id": name}, name]})
    found.append({"type": "announce", "worker_id": "w", "holds": [{"task_id": name}]})
    return found
