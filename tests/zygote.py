"""Real manager processes within milliseconds: one process imports everything and forks them.

`Zygote` starts managers and commands and says how they ended; a manager may run on a clock of
the test's (`Dial`).  Promises: whoever is started here ends with the zygote, and the zygote
with the test.  What is not here: anything that a started process does otherwise than
`sqlqueue serve` does, the clock apart.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import signal
import struct
import subprocess
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Any

from sqlqueue.home import Home
from sqlqueue.home_lock import HomeLock
from sqlqueue.manager.process import new_loop, on_signals
from sqlqueue.manager.server import Options, Server
from sqlqueue.manager.writer import Writer


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

    def manager(self, home: Path, dial: Path, output: Path) -> int:
        return self._ask("manage", output, [str(home), str(dial)])

    def command(self, output: Path, *arguments: str) -> int:
        return self._ask("command", output, list(arguments))

    def wait(self, pid: int) -> int:
        """The exit status; negative for a signal."""
        return self._ask("wait", Path(), [pid])

    def end(self) -> None:
        """Ends it and all that it started."""
        self._process.communicate()

    def _ask(self, what: str, output: Path, arguments: list[Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps([what, str(output), arguments]), file=self._process.stdin, flush=True)
        return int(self._process.stdout.readline())


# --- the zygote's side ----------------------------------------------------------------------


def main() -> None:
    """One order per line; ends with its standard input."""
    import sqlqueue.cli
    import sqlqueue.initialise
    import sqlqueue.manager.local  # noqa: F401

    alive: set[int] = set()
    for text in sys.stdin:
        what, output, arguments = json.loads(text)
        if what == "wait":
            (pid,) = arguments
            alive.discard(pid)
            answer = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        else:
            answer = begin(what, output, arguments)
            alive.add(answer)
        print(answer, flush=True)
    for pid in alive:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def begin(what: str, output: str, arguments: list[str]) -> int:
    child = os.fork()
    if child:
        return child
    try:
        become(output, Path(arguments[0] if what == "manage" else arguments[-1]).parent)
        status = {"manage": manage, "command": command}[what](*arguments)
        sys.stdout.flush()
        os._exit(status)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def become(output: str, folder: Path) -> None:
    """A process of its own: its words go to a file, and it hears nothing."""
    os.chdir(folder)
    sink = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    silence = os.open(os.devnull, os.O_RDONLY)
    os.dup2(silence, 0)
    for number in (1, 2):
        os.dup2(sink, number)


if __name__ == "__main__":
    main()
