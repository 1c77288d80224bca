"""What tests share: waiting for a condition, a real manager process, a real command line.

Promises: whatever is started here is stopped here, by its own process id; nothing is read
from or written to the user's own home, state folder or environment (`SQLQUEUE_*`).
What is not here: fixtures (`conftest.py`), and anything that stands in for a real part.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from sqlqueue.home import Home

if TYPE_CHECKING:
    from _pytest.mark.structures import ParameterSet
    from zygote import Forked

Found = TypeVar("Found")

START_SECONDS = 30.0
STOP_SECONDS = 20.0
COMMAND_SECONDS = 60.0
POLL_SECONDS = 0.01


def wait_until(
    predicate: Callable[[], Found | None], seconds: float = 10.0, what: str = "the condition"
) -> Found:
    """What `predicate` returns once it is true; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := predicate()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} was not met within {seconds:g} s")
        time.sleep(POLL_SECONDS)
    return found


def environment(state: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment without the user's queue, and with a state folder of its own."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("SQLQUEUE_")}
    plain = {"XDG_STATE_HOME": str(state), "NO_COLOR": "1", "COLUMNS": "120", "TERM": "dumb"}
    return own | plain | {"PYTHONUNBUFFERED": "1"} | dict(extra or {})


def later(*values: object) -> list[ParameterSet]:
    """Values of a parametrised test that are left to the long run."""
    return [pytest.param(each, marks=pytest.mark.slow) for each in values]


def revive(home: Home, frozen: Path) -> None:
    """Puts the database that was frozen as SQL there, as this home's."""
    with closing(sqlite3.connect(home.database)) as connection:
        connection.executescript(frozen.read_text())
        connection.execute("UPDATE meta SET value = ? WHERE key = 'queue'", (home.queue_id(),))
        connection.execute("DELETE FROM meta WHERE key = 'place'")
        connection.commit()


def sqlqueue_command(*arguments: str | Path) -> list[str]:
    """The command line as this interpreter runs it."""
    return [sys.executable, "-m", "sqlqueue", *map(str, arguments)]


@dataclass
class Cli:
    """Runs `python -m sqlqueue ...` in the root of a queue and captures what it says."""

    root: Path
    environment: dict[str, str]
    forks: bool = False
    """Commands that end by themselves are forked, as `set_up` is: for tests of what they do."""

    def __call__(
        self, *arguments: str | Path, seconds: float = COMMAND_SECONDS, **extra: str
    ) -> subprocess.CompletedProcess[str]:
        """The finished command; further keywords are environment variables, and never forked."""
        if self.forks and not extra:
            return self._forked(*map(str, arguments), seconds=seconds)
        return subprocess.run(
            sqlqueue_command(*arguments),
            cwd=self.root,
            env=self.environment | extra,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def ok(self, *arguments: str | Path, seconds: float = COMMAND_SECONDS, **extra: str) -> str:
        """The standard output of a command that must exit 0."""
        done = self(*arguments, seconds=seconds, **extra)
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def _forked(self, *arguments: str, seconds: float) -> subprocess.CompletedProcess[str]:
        from zygote import Forked

        with TemporaryDirectory() as folder:
            said, errors = Path(folder, "said"), Path(folder, "errors")
            process = Forked(said, self.root, self.environment, *arguments, errors=errors)
            try:
                status = process.wait(seconds)
            except BaseException:
                process.kill()
                process.wait()
                raise
            return subprocess.CompletedProcess(
                sqlqueue_command(*arguments), status, said.read_text(), errors.read_text()
            )

    def set_up(self, *arguments: str | Path) -> None:
        """A command that must exit 0, where the test is about what comes after it.

        It is a process of its own, forked from one that has imported everything already.
        """
        said = self.root / "set_up.output"
        status = self.forked(*arguments, output=said).wait(COMMAND_SECONDS)
        assert status == 0, f"exit {status}\n{said.read_text()}"
        said.unlink()

    def forked(self, *arguments: str | Path, output: Path) -> Forked:
        """As `start`, forked from a process that has imported everything already."""
        from zygote import Forked

        return Forked(output, self.root, self.environment, *map(str, arguments))

    def start(self, *arguments: str | Path, output: Path, **extra: str) -> subprocess.Popen[bytes]:
        """A command left running, its output in a file; the caller stops it (`stop`)."""
        with output.open("ab") as sink:
            return subprocess.Popen(
                sqlqueue_command(*arguments),
                cwd=self.root,
                env=self.environment | extra,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
            )


def stop(process: subprocess.Popen[bytes] | Forked, seconds: float = STOP_SECONDS) -> int:
    """Asks a process to end and returns its exit code; one that does not is killed, and fails."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise AssertionError(f"pid {process.pid} did not stop within {seconds:g} s") from None


@dataclass
class ManagerProcess:
    """A real `sqlqueue serve` on a home: started, stopped and killed as often as a test likes."""

    home: Home
    cli: Cli
    output: Path
    process: subprocess.Popen[bytes] | Forked | None = field(default=None)
    afresh: bool = False
    """Started by the system, its environment and all, not forked."""

    def start(self, *options: str, **extra: str) -> ManagerProcess:
        """Returns when the manager takes connections.

        One without options is forked from a process that has imported everything, as
        `Cli.set_up` does, unless `afresh`: hundreds of tests begin with it.
        """
        serve = ("serve", "--home", str(self.home.path))
        if options or extra or self.afresh:
            self.process = self.cli.start(*serve, *options, output=self.output, **extra)
        else:
            self.process = self.cli.forked(*serve, output=self.output)
        wait_until(self._listens, START_SECONDS, "the manager listening")
        return self

    def stop(self) -> int:
        """Ends it as a person would; returns its exit code."""
        process, self.process = self._running(), None
        return stop(process)

    def kill(self) -> None:
        """Ends it as a power cut would."""
        process, self.process = self._running(), None
        process.kill()
        process.wait()

    @property
    def socket_path(self) -> Path:
        """Where it listens, as `manager.json` says."""
        found = self.home.manager()
        assert found, f"no manager.json in {self.home.path}"
        return self.home.path / str(found["unix_socket"])

    @property
    def said(self) -> str:
        """All that it has written so far."""
        return self.output.read_text(errors="replace")

    def ask(self, message: Mapping[str, Any], seconds: float = 10.0) -> dict[str, Any]:
        """One message over a new connection, and the answer."""
        with connect(self.socket_path, seconds) as connection:
            return exchange(connection, message)

    def _running(self) -> subprocess.Popen[bytes] | Forked:
        assert self.process is not None, "the manager was not started"
        return self.process

    def _listens(self) -> bool:
        process = self._running()
        assert process.poll() is None, f"serve ended with {process.returncode}:\n{self.said}"
        found = self.home.manager()
        if found is None or found.get("pid") != process.pid:
            return False
        try:
            connect(self.socket_path).close()
        except OSError:
            return False
        return True


def connect(path: Path, seconds: float = 10.0) -> socket.socket:
    """A connection to a Unix socket, however long its path is."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(seconds)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        connection.connect(f"/proc/self/fd/{folder}/{path.name}")
    except OSError:
        connection.close()
        raise
    finally:
        os.close(folder)
    return connection


def exchange(connection: socket.socket, message: Mapping[str, Any]) -> dict[str, Any]:
    """Sends one message as a line and reads the one line that answers it."""
    connection.sendall(json.dumps(message).encode() + b"\n")
    with connection.makefile("rb") as lines:
        answer = lines.readline()
    assert answer, "the manager closed the connection without an answer"
    found = json.loads(answer)
    assert isinstance(found, dict)
    return found


def texts(findings: Sequence[object]) -> str:
    """Findings as lines."""
    return "\n".join(map(str, findings))
