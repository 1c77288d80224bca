"""The processes that `run` starts: a manager and a worker of its own.

Promises: each is the real command in a process group of its own, so that Ctrl-C reaches
only `run`, which stops them in order; what they say goes to a log file in the home, and
their warnings to the person; one that is killed is started again, a few times; none
outlives `run`, however it dies.  What is not here: what the commands do.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from sqlqueue.errors import QueueError
from sqlqueue.home import Home

RESTARTS: Final = 5
STOP_SECONDS: Final = 20.0
TOLD_LINES: Final = 15
MAX_LOG_BYTES: Final = 16 * 1024 * 1024
_PR_SET_PDEATHSIG: Final = 1
_LOUD: Final = re.compile(r"^\S+ (warning|error|critical): ")
_TOLD: Final = re.compile(r" warning: \S+: (FAILED|OOM|TIMEOUT) (of )?\S+: ")
"""What a worker says of a failed attempt: its manager says it too, and what follows."""
_FAILED: Final = re.compile(r": (?:FAILED|OOM|TIMEOUT): (.*); it (?:runs again|is FAILED)")
MOST_ALIKE: Final = 6
"""Failures for one reason that are told one by one; a study where all fail has thousands."""
ENOUGH: Final = "more failures like these are only counted"


class Repeats:
    """Tells the first few failures for one reason, and after them only that there are more."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    def told(self, line: str) -> str:
        """The line, or what stands in its place; empty for nothing."""
        failed = _FAILED.search(line)
        if failed is None:
            return line
        self._seen[failed[1]] += 1
        if self._seen[failed[1]] <= MOST_ALIKE:
            return line
        return ENOUGH if self._seen[failed[1]] == MOST_ALIKE + 1 else ""


class Part:
    """One command in a process of its own."""

    def __init__(self, name: str, home: Home, arguments: Sequence[str]) -> None:
        self.name = name
        self.log = home.logs / f"run-{name}.log"
        self._command = [sys.executable, "-m", "sqlqueue", *arguments, "--home", str(home.path)]
        self._process: subprocess.Popen[bytes] | None = None
        self._restarts = 0
        self._began_bytes = self._read_bytes = 0

    def start(self) -> None:
        """Starts it; returns at once."""
        self._began_bytes = self._read_bytes = _log_start(self.log)
        self._process = self._spawned()

    def _spawned(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
                preexec_fn=_ending_with(os.getpid()),
            )

    @property
    def started(self) -> bool:
        return self._process is not None

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs, or before it was started."""
        return self._process.poll() if self._process else None

    def revive(self, after_leaving: bool = False) -> bool:
        """Starts it again if it was killed, or has left; False when not, or too often."""
        status = self.status
        if status is None or status > 0 or (status == 0 and not after_leaving):
            return False
        if self._restarts >= RESTARTS:
            return False
        self._restarts += 1
        self._process = self._spawned()
        return True

    def forget(self) -> None:
        """As before it was started: it ended, and another does what it was for."""
        self._process = None

    def wait(self, seconds: float) -> None:
        """Until it ends, at most so long."""
        if self._process is None:
            time.sleep(seconds)
            return
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Asks it to end, and ends it when it does not."""
        if self._process is None or self.status is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(seconds)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            self.kill()

    def kill(self) -> None:
        """Ends it at once."""
        if self._process is not None and self.status is None:
            self._process.kill()
            self._process.wait()

    def warnings(self) -> list[str]:
        """The warnings that it has logged since the last call."""
        return [each for each in self._new_lines() if _LOUD.search(each) and not _TOLD.search(each)]

    def _new_lines(self) -> list[str]:
        text = self._text(self._read_bytes)
        whole = text[: text.rfind("\n") + 1]
        self._read_bytes += len(whole.encode("utf-8", "surrogateescape"))
        return whole.splitlines()

    def _text(self, since_bytes: int) -> str:
        with self.log.open("rb") as log:
            log.seek(since_bytes)
            return log.read().decode("utf-8", "surrogateescape")

    def failure(self) -> QueueError:
        """What to tell when it ended and should not have."""
        lines = self._text(self._began_bytes).splitlines()[-TOLD_LINES:]
        told = "\n".join(f"  {line}" for line in lines)
        return QueueError(
            f"the {self.name} ended ({_ending(self.status)}); its log {self.log} ends with\n{told}"
        )


def _ending(status: int | None) -> str:
    if status is not None and status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit {status}"


def _log_start(log: Path) -> int:
    """Where new lines will begin; a log that grew long begins anew."""
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    with open(os.open(log, flags, 0o600), "ab") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MAX_LOG_BYTES:
            file.truncate(0)
            return 0
    return size


def _ending_with(parent: int) -> Callable[[], None] | None:
    """For the new process: SIGTERM when the one that started it is gone."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)

    return prepare
