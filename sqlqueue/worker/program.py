"""Runs one cell of a command: a program, its output, its progress, its end.

The child starts the program anew for each attempt and waits for it.  What it prints passes
through here into the log, so that the last JSON line of its standard output is found, and the last
lines of its standard error.
Promises: memory is bounded whatever is printed; told to stop, the program hears it and may end
by itself; how it ended is told as `ProgramFailed`, what it returned is a mapping.  What is not
here: what is to be run (`experiments/command.py`), words for an exit (`exits.py`), time limits.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from sqlqueue.disk import Disk
from sqlqueue.errors import ExperimentError
from sqlqueue.experiments import command
from sqlqueue.experiments.returned import Lines, NoResult, read_file
from sqlqueue.experiments.run import Run
from sqlqueue.worker import deaths, exits, guard, outcome
from sqlqueue.worker.exits import ProgramFailed
from sqlqueue.worker.kernel import PR_SET_PDEATHSIG
from sqlqueue.worker.outcome import Order

LOOK_SECONDS: Final = 0.1
PROGRESS_SECONDS: Final = 0.5
DRAIN_SECONDS: Final = 2.0
FOLLOWERS_SECONDS: Final = 60.0
"""What a stopped program left running may take; the supervisor's grace is over before."""
CHUNK_BYTES: Final = 1 << 16

_libc = ctypes.CDLL(None)


class Program:
    """One attempt's program.  `told`: whether it is to stop.  Called with a cell's parameters."""

    def __init__(self, order: Order, root: Path, told: Callable[[], bool]) -> None:
        assert order.command is not None
        self._order = order
        self._command = order.command
        self._root = root
        self._told = told
        self._passed_on = False
        self._lines = Lines()
        self._errors = b""

    def __call__(self, config: dict[str, Any], run: Run) -> Mapping[str, Any]:
        scratch = self._scratch(config)
        values = config | {
            "run.directory": str(run.directory), "run.device": run.device, "run.seed": run.seed,
        }  # fmt: skip
        prepared = command.prepare(self._command, self._root, values)
        environment = self._environment(scratch, run) | prepared.environment
        killed_before = deaths.oom_kills()
        try:
            status = self._run(prepared, environment, _Progress(scratch / "progress", run))
        finally:
            with contextlib.suppress(OSError):
                run.directory.rmdir()  # nothing was kept in it
        return self._result(status, scratch / "result.json", killed_before)

    # --- before -------------------------------------------------------------------------

    def _scratch(self, config: Mapping[str, Any]) -> Path:
        """The attempt's folder, with the parameters in it: the first that can be written."""
        disk, data = Disk(), json.dumps(config).encode() + b"\n"
        *some, last = self._order.folders()
        for folder in some:
            with contextlib.suppress(OSError):
                return self._filled(folder, disk, data)
        return self._filled(last, disk, data)

    def _filled(self, folder: Path, disk: Disk, data: bytes) -> Path:
        """Whose it is stands there too: what a killed worker leaves is cleared away by the next."""
        disk.make_folders(folder, 0o700)
        for name in ("result.json", "progress"):  # of an attempt whose number came again
            with contextlib.suppress(FileNotFoundError):
                disk.unlink(folder / name)
        disk.write_beside(folder / outcome.ORDER_FILE, self._order.line(), 0o600)
        disk.write_beside(folder / "parameters.json", data, 0o600)
        return folder

    def _environment(self, scratch: Path, run: Run) -> dict[str, str]:
        own = {
            "PARAMETERS": str(scratch / "parameters.json"),
            "RESULT": str(scratch / "result.json"),
            "PROGRESS": str(scratch / "progress"),
            "DIRECTORY": str(run.directory),
            "DEVICE": run.device,
            "SEED": "" if run.seed is None else str(run.seed),
            "TASK_ID": self._order.task_id,
            "ATTEMPT": str(self._order.attempt),
        }
        unbuffered = {"PYTHONUNBUFFERED": "1"}  # so that its output can be followed
        return unbuffered | os.environ | {f"SQLQUEUE_{name}": each for name, each in own.items()}

    # --- while it runs --------------------------------------------------------------------

    def _run(
        self, prepared: command.Prepared, environment: dict[str, str], progress: _Progress
    ) -> int:
        """The exit status; negative: a signal."""
        if self._told():
            raise ProgramFailed("told to stop before it began")
        try:
            process = subprocess.Popen(
                prepared.words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, cwd=prepared.directory, env=environment, bufsize=0,
                preexec_fn=_begin,
            )  # fmt: skip
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise ExperimentError(f"cannot run {prepared.words[0]}: {_why(error)}") from None
        assert process.stdout is not None and process.stderr is not None
        with process.stdout as output, process.stderr as errors:
            self._watch(process, [output.fileno(), errors.fileno()], progress)
        progress.look()
        if self._passed_on:
            _await_followers()
        return process.returncode

    def _watch(
        self, process: subprocess.Popen[bytes], outputs: list[int], progress: _Progress
    ) -> None:
        poll = select.poll()
        for fd in outputs:
            os.set_blocking(fd, False)
            poll.register(fd, select.POLLIN)
        rest = list(outputs)
        while process.poll() is None:
            if rest:
                poll.poll(LOOK_SECONDS * 1000)
                rest = self._read(rest, outputs[0], poll)
            else:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(LOOK_SECONDS)
            self._pass_on(process)
            progress.look_now_and_then()
        deadline = time.monotonic() + DRAIN_SECONDS
        while rest and poll.poll(0) and time.monotonic() < deadline:
            rest = self._read(rest, outputs[0], poll)

    def _read(self, fds: list[int], output: int, poll: select.poll) -> list[int]:
        """Passes on what was printed; returns those that are still open.

        First standard output: what a program printed there before it complained stands before.
        """
        still_open = []
        for fd in fds:
            try:
                data = os.read(fd, CHUNK_BYTES)
            except BlockingIOError:
                still_open.append(fd)
                continue
            if data:
                still_open.append(fd)
                self._take(data, is_output=fd == output)
            else:
                poll.unregister(fd)
        return still_open

    def _take(self, data: bytes, is_output: bool) -> None:
        with contextlib.suppress(Exception):  # a log that takes no more must not end the program
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        if is_output:
            self._lines.feed(data)
        else:
            self._errors = (self._errors + data)[-exits.TAIL_BYTES :]

    def _pass_on(self, process: subprocess.Popen[bytes]) -> None:
        """Tells the program to stop, once."""
        if self._told() and not self._passed_on and process.poll() is None:
            self._passed_on = True
            process.send_signal(signal.SIGTERM)

    # --- afterwards -------------------------------------------------------------------------

    def _result(self, status: int, file: Path, killed_before: int) -> Mapping[str, Any]:
        log = Path(self._order.log)
        if status:
            raise exits.failure(status, log, self._errors, deaths.oom_kills() > killed_before)
        try:
            found = read_file(file)
            if found is None and not self._passed_on:
                found = self._lines.close()
        except (NoResult, OSError) as error:
            raise exits.no_result(str(error), log) from None
        if found is None:
            raise exits.no_result(exits.NOTHING, log)
        return found


class _Progress:
    """The file to which a program writes how far it is; its last whole line counts."""

    LAST_BYTES: Final = 1 << 16

    def __init__(self, path: Path, run: Run) -> None:
        self._path = path
        self._run = run
        self._seen: tuple[int, int] | None = None
        self._next = 0.0

    def look_now_and_then(self) -> None:
        if time.monotonic() >= self._next:
            self.look()
            self._next = time.monotonic() + PROGRESS_SECONDS

    def look(self) -> None:
        with contextlib.suppress(OSError, ValueError, TypeError, RecursionError):
            found = self._path.stat()
            if self._seen != (found.st_mtime_ns, found.st_size):
                self._seen = (found.st_mtime_ns, found.st_size)
                self._report(found.st_size)

    def _report(self, size_bytes: int) -> None:
        fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            data = os.pread(fd, self.LAST_BYTES, max(0, size_bytes - self.LAST_BYTES))
        finally:
            os.close(fd)
        *_, last = [b"", *(line for line in data.split(b"\n")[:-1] if line.strip())]
        said = json.loads(last)
        if isinstance(said, dict):
            step, total = said.pop("step", None), said.pop("total", None)
            self._run.report(step, total, **said)


def left_over() -> list[int]:
    """What the program started and left running: all that descends from our guard, but us."""
    return [pid for pid in guard.descendants(os.getppid()) if pid != os.getpid()]


def _await_followers() -> None:
    """A script may have ended at once while what it started still saves something: that is told
    too, and waited for."""
    for pid in left_over():
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + FOLLOWERS_SECONDS
    while left_over() and time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)


def _begin() -> None:
    """In the new process: it ends with us, hears a Ctrl-C of its own, and of a preemption from us:
    the signal for that (SIGUSR1) may have gone to all processes of a job, and would end it."""
    _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def _why(error: Exception) -> str:
    said = getattr(error, "strerror", None) or str(error)
    return f"{said} (does it begin with #!?)" if "Exec format" in said else said
