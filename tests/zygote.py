"""Real manager processes within milliseconds: one process imports everything and forks them.

`Zygote` starts managers and commands and says how they ended; a manager may run on a clock of
the test's (`Dial`).  `shared` is one for all tests of a process, `Forked` a command that it
started.  Promises: whoever is started here ends with the zygote, and the zygote with the test.
What is not here: anything that a started process does otherwise than `sqlqueue serve` does, the
clock apart.
"""

from __future__ import annotations

import asyncio
import json
import math
import mmap
import os
import signal
import struct
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

from sqlqueue.home import Home
from sqlqueue.home_lock import HomeLock
from sqlqueue.manager.process import new_loop, on_signals
from sqlqueue.manager.server import Options, Server
from sqlqueue.manager.writer import Writer

EVERYTHING = (
    "alembic.command", "sqlqueue.cli", "sqlqueue.initialise", "sqlqueue.manager.local",
    "sqlqueue.progress", "sqlqueue.report_init",
)  # fmt: skip
"""What `init` and `serve` would import."""
POLL_SECONDS = 0.01
RUNNING = -1000
"""No exit status."""


class Dial:
    """A clock in a file that two processes map: one sets it, the other says what it acted on."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(struct.pack("dd", 1000.0, 0.0))
        with path.open("r+b") as file:
            self._both = mmap.mmap(file.fileno(), 16)

    def __call__(self) -> float:
        return float(struct.unpack_from("d", self._both, 0)[0])

    def set(self, now: float) -> None:
        struct.pack_into("d", self._both, 0, now)

    @property
    def acted_on(self) -> float:
        return float(struct.unpack_from("d", self._both, 8)[0])

    @acted_on.setter
    def acted_on(self, now: float) -> None:
        struct.pack_into("d", self._both, 8, now)


class Dialled(Writer):
    """The writer, on that clock."""

    def __init__(self, home: Home, *, dial: Dial, **options: Any) -> None:
        super().__init__(home, clock=dial, **options)
        self._dial = dial

    def _tick(self) -> None:
        now = self._dial()
        super()._tick()
        self._dial.acted_on = now


async def serve(home: Home, dial: Dial) -> int:
    server = Server(home, Options(writer=partial(Dialled, dial=dial)))
    on_signals(server.stop)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, server._writer.tick)
    return await server.run()


def manage(home: str, dial: str) -> int:
    """A manager; SIGUSR1 says that the clock was set."""
    with HomeLock(Home(Path(home)), "sqlqueue serve"), asyncio.Runner(loop_factory=new_loop) as it:
        return it.run(serve(Home(Path(home)), Dial(Path(dial))))


def command(*arguments: str) -> int:
    """The command line, in this process."""
    from sqlqueue.cli import main

    sys.argv = ["sqlqueue", *arguments]
    try:
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


class Zygote:
    """The test's side: `manager` and `command` return process ids, `wait` exit statuses."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            env=environment, text=True,
        )  # fmt: skip
        self._one_at_a_time = Lock()

    def manager(self, home: Path, dial: Path, output: Path) -> int:
        return self._ask("manage", [str(home), str(dial)], output, home.parent)

    def command(
        self,
        output: Path,
        folder: Path,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        errors: Path | None = None,
    ) -> int:
        """A command in a folder; its environment is the zygote's unless one is named.

        Its standard error goes where its output goes unless a place for `errors` is named.
        """
        return self._ask("command", list(arguments), output, folder, environment, errors)

    def wait(self, pid: int) -> int:
        """The exit status; negative for a signal."""
        return self._ask("wait", [pid])

    def poll(self, pid: int) -> int | None:
        """The exit status of a process that has ended."""
        status = self._ask("poll", [pid])
        return None if status == RUNNING else status

    def end(self) -> None:
        """Ends it and all that it started."""
        self._process.communicate()

    def _ask(
        self,
        what: str,
        arguments: list[Any],
        output: Path | None = None,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        errors: Path | None = None,
    ) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        own = None if environment is None else dict(environment)
        order = json.dumps([what, arguments, str(output), str(folder), own, str(errors or output)])
        with self._one_at_a_time:
            print(order, file=self._process.stdin, flush=True)
            return int(self._process.stdout.readline())


@cache
def shared() -> Zygote:
    """Ends with this process, which holds its standard input."""
    return Zygote(dict(os.environ))


class Forked:
    """A command left running, with what the tests use of `subprocess.Popen`."""

    def __init__(
        self,
        output: Path,
        folder: Path,
        environment: Mapping[str, str],
        *arguments: str,
        errors: Path | None = None,
    ) -> None:
        self.pid = shared().command(
            output, folder, *arguments, environment=environment, errors=errors
        )
        self.returncode: int | None = None

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = shared().poll(self.pid)
        return self.returncode

    def wait(self, timeout: float = math.inf) -> int:
        deadline = time.monotonic() + timeout
        while (status := self.poll()) is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(f"pid {self.pid}", timeout)
            time.sleep(POLL_SECONDS)
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


# --- the zygote's side ----------------------------------------------------------------------


def main() -> None:
    """One order per line; ends with its standard input."""
    for each in EVERYTHING:
        import_module(each)
    alive: set[int] = set()
    for text in sys.stdin:
        what, arguments, *place = json.loads(text)
        if what in ("wait", "poll"):
            (pid,) = arguments
            ended, status = os.waitpid(pid, os.WNOHANG if what == "poll" else 0)
            answer = os.waitstatus_to_exitcode(status) if ended else RUNNING
            alive -= {ended}
        else:
            answer = begin(what, arguments, *place)
            alive.add(answer)
        print(answer, flush=True)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def begin(
    what: str,
    arguments: list[str],
    output: str,
    folder: str,
    environment: dict[str, str] | None,
    errors: str,
) -> int:
    child = os.fork()
    if child:
        return child
    try:
        if environment is not None:
            os.environ.clear()
            os.environ.update(environment)
        become(folder, output, errors)
        status = {"manage": manage, "command": command}[what](*arguments)
        sys.stdout.flush()
        os._exit(status)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def become(folder: str, output: str, errors: str) -> None:
    """A process of its own: its words go to files, and it hears nothing."""
    os.chdir(folder)
    silence = os.open(os.devnull, os.O_RDONLY)
    os.dup2(silence, 0)
    for number, file in ((1, output), (2, errors)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), number)


if __name__ == "__main__":
    main()
