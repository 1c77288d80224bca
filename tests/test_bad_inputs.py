"""Every bad input of the table, given to a live queue: refused, explained, without effect."""

from __future__ import annotations

import json
import shutil
import socket
import sqlite3
import ssl
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bad_inputs
import msgspec
import pytest
from bad_inputs import GOOD, LINES, REQUESTS, SAID, SWEEPS, TOO_LONG, Line, Said, Sweep

from sqlqueue import keys, protocol, shell
from sqlqueue.cli import typed
from sqlqueue.home import NAME, Home
from sqlqueue.plan.task import STEERING
from support import Cli, ManagerProcess, connect, environment

MISUSED = list(bad_inputs.misused_options())
MALFORMED = list(bad_inputs.malformed())
EXPERIMENTS = Path(__file__).with_name("acceptance_experiments.py")
GOOD_SWEEP = "defaults: {output_dir: results, experiment: 'trial:measure'}\n" + (
    "grid: {combinations: {seed: [1, 2, 3]}}\n"
)


@dataclass
class Target:
    """A queue with three tasks and its manager, which listens on TCP too."""

    home: Home
    manager: ManagerProcess

    def ask(self, said: bytes | dict[str, Any]) -> dict[str, Any]:
        """What is answered on the Unix socket, over a connection of its own."""
        with connect(self.manager.socket_path) as wire:
            return answer(wire, said)

    def worker(self) -> ssl.SSLSocket:
        """A TLS connection that has not said hello."""
        found = self.home.manager() or {}
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context.wrap_socket(socket.create_connection(("127.0.0.1", found["port"]), 10))

    def state(self) -> tuple[Any, ...]:
        """Everything that must stay: totals, rows of every table, files in the root."""
        with closing(sqlite3.connect(f"file:{self.home.database}?mode=ro", uri=True)) as base:
            names = [name for (name,) in base.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]  # fmt: skip
            rows = {name: base.execute(f"SELECT count(*) FROM {name}").fetchone() for name in names}
        totals = self.ask({"type": "status"})["status"]["totals"]
        root = self.home.root
        files = {str(path.relative_to(root)): path.stat().st_size
                 for path in root.rglob("*") if NAME not in path.parts}  # fmt: skip
        files.pop("manager.output")
        return totals, rows, files


def answer(wire: socket.socket, said: bytes | dict[str, Any]) -> dict[str, Any]:
    data = said if isinstance(said, bytes) else json.dumps(said).encode()
    wire.sendall(data + b"\n")
    with wire.makefile("rb") as lines:
        found: dict[str, Any] = json.loads(lines.readline())
    return found


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One for the whole table; that it survives is part of what is tested."""
    root = tmp_path_factory.mktemp("bad")
    furnish(root)
    cli = Cli(root, environment(tmp_path_factory.mktemp("state")))
    cli.ok("init", "good.yaml")
    cli.ok("init", "--home", bad_inputs.IDLE, "idle/none.yaml")
    home = Home(root / NAME)
    manager = ManagerProcess(home, cli, root / "manager.output")
    manager.start("--host", "127.0.0.1", "--port", "0")
    yield Target(home, manager)
    assert manager.stop() == 0
    assert "Traceback" not in manager.said


def furnish(root: Path) -> None:
    """What the rows of the table speak of."""
    shutil.copy(EXPERIMENTS, root / "trial.py")
    (root / "good.yaml").write_text(GOOD_SWEEP)
    (root / "latin.yaml").write_bytes(b"# caf\xe9\n")
    (root / "bad.yaml").write_text("")
    for name in ("full", "foreign", "own", "idle"):
        (root / name).mkdir()
    (root / "idle" / "none.yaml").write_text("none: {combinations: {seed: 1}, output_dir: r}\n")
    (root / "full" / "thesis.tex").write_text("years of work")
    (root / "foreign" / ".sqlqueue.json").write_text('{"format": 1, "queue": "another"}')
    (root / "own" / "final_results.csv").write_text("mine\n")


@pytest.fixture
def target(shared: Target, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Target]:
    """The queue, which must be as it was when the test leaves."""
    monkeypatch.chdir(shared.home.root)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("SQLQUEUE_HOME", "SQLQUEUE_TOKEN", "SQLQUEUE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    before = shared.state()
    yield shared
    assert shared.state() == before


def complaint(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """What a command says that must end with 2, having printed no result."""
    monkeypatch.setattr(sys, "argv", ["sqlqueue", *arguments])
    status = shell.conclude(typed)
    said = capsys.readouterr()
    assert status == 2, said.err or said.out
    assert said.out == ""
    assert "\nerror: " in f"\n{said.err}"
    assert "Traceback" not in said.err
    return said.err


# --- sweep files ----------------------------------------------------------------------


def test_every_key_of_a_sweep_file_has_a_row() -> None:
    own = {"defaults", "seeds", "combinations", "exclude", "include", "zip"}
    assert {each.key for each in SWEEPS} - {""} == STEERING | own


@pytest.mark.parametrize("row", SWEEPS, ids=lambda row: f"{row.key or 'file'}-{row.cure}"[:40])
def test_a_bad_sweep_file(
    row: Sweep, target: Target, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    path = target.home.root / "bad.yaml"
    size = path.stat().st_size
    path.write_text(row.text)
    try:
        said = complaint(["init", "good.yaml", "bad.yaml"], monkeypatch, capsys)
    finally:
        path.write_text(" " * size)
    assert f"bad.yaml:{row.line}: " in said, said
    assert row.named in said, said
    assert row.cure in said, said
    assert "nothing was changed" in said


# --- command lines --------------------------------------------------------------------


def test_every_option_with_a_value_has_a_row() -> None:
    flags = {option.opts[0] for _, command in bad_inputs.commands()
             for option in bad_inputs.options(command) if not option.is_flag}  # fmt: skip
    assert flags == set(bad_inputs.VALUES)


@pytest.mark.parametrize("row", [*LINES, *MISUSED], ids=lambda row: " ".join(row.typed)[:60])
def test_a_bad_command_line(
    row: Line, target: Target, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert target.home.manager()
    said = complaint(row.typed, monkeypatch, capsys)
    assert row.named in said, said
    assert row.cure in said, said


# --- messages -------------------------------------------------------------------------


def structs() -> Iterator[type[Any]]:
    """Every message of a client, and what is nested in one."""
    yield from REQUESTS.values()
    yield from (protocol.Held, protocol.NewTask, protocol.ExperimentMemory,
                protocol.ParameterMemory)  # fmt: skip


def test_every_field_of_every_message_has_rows() -> None:
    assert set(GOOD) == set(REQUESTS)
    missing = [
        f"{kind.__name__}.{field.encode_name}"
        for kind in structs()
        for field in msgspec.structs.fields(kind)
        if not bad_inputs.bad_values(kind, field.encode_name)
    ]
    assert missing == []
    decoded = [protocol.decode_request(json.dumps({"type": tag, **message}).encode())
               for tag, message in GOOD.items()]  # fmt: skip
    assert [type(each) for each in decoded] == [REQUESTS[tag] for tag in GOOD]


def test_malformed_messages_are_answered_with_the_path_of_what_is_wrong(target: Target) -> None:
    """All of them over one connection, which stays good."""
    assert len(MALFORMED) > 400
    with connect(target.manager.socket_path) as wire:
        for row in MALFORMED:
            found = answer(wire, row.message)
            assert (found["type"], found.get("code")) == ("error", "bad_message"), row.what
            assert row.path in found["message"], (row.what, found["message"])
            assert found["retryable"] is False
        assert answer(wire, {"type": "status"})["type"] == "status"


@pytest.mark.parametrize("row", SAID, ids=lambda row: f"{row.code}-{row.named}"[:40])
def test_a_message_that_cannot_be_heeded(row: Said, target: Target) -> None:
    found = target.ask(row.said)
    assert (found["type"], found["code"]) == ("error", row.code), found
    assert row.named in found["message"], found
    assert found["retryable"] is False
    assert "SQL" not in found["message"]


def test_a_message_without_end_is_refused_and_the_manager_stays_up(target: Target) -> None:
    found = target.ask(TOO_LONG)
    assert (found["type"], found["code"]) == ("error", "too_large")
    assert "smaller parts" in found["message"]


def test_a_worker_may_not_say_what_is_the_owner_s(target: Target) -> None:
    token = keys.worker_token(target.home).partition(".")[0]
    owners = [tag for tag, kind in REQUESTS.items() if kind in protocol.OWNER_ONLY]
    of_workers = {"hello", "announce", "request_task", "submit_result", "task_failed", "release",
                  "heartbeat", "status"}  # fmt: skip
    assert set(REQUESTS) - set(owners) == of_workers
    with target.worker() as wire:
        assert answer(wire, {"type": "hello", "token": token})["type"] == "welcome"
        for tag in owners:
            found = answer(wire, {"type": tag, **GOOD[tag]})
            assert (found["type"], found["code"]) == ("error", "not_authorised")
            assert f"'{tag}'" in found["message"]
            assert "owner" in found["message"]


def test_a_stranger_is_told_and_let_go(target: Target) -> None:
    said = ({"type": "hello", "token": "wrong"}, {"type": "status"}, b"GET / HTTP/1.1")
    with ExitStack() as wires:
        strangers = [wires.enter_context(target.worker()) for _ in said]
        for wire, each in zip(strangers, said, strict=True):
            found = answer(wire, each)
            assert (found["type"], found["code"]) == ("error", "not_authorised")
            assert '"hello"' in found["message"]
        assert [wire.recv(1) for wire in strangers] == [b"", b"", b""]
