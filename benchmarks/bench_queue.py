"""A queue made for measuring: a folder, a sweep of so many cells for two directories, a manager.

Promises: everything is started, and stopped, through the real command line.  What is not
here: what is measured.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

DIRECTORIES = ("results_0", "results_1")
START_SECONDS = 30.0
MOST_AT_ONCE = 1000
REQUESTS_AT_ONCE = 100
LOOK_SECONDS = 0.02


@dataclass(frozen=True)
class Given:
    """A task given to a client: what it must name to submit its result."""

    task_id: str
    attempt: int


@dataclass
class BenchQueue:
    """A folder with a home in it."""

    root: Path
    manager: subprocess.Popen[bytes] | None = None

    @property
    def home(self) -> Path:
        return self.root / ".sqlqueue"

    @property
    def socket(self) -> Path:
        """Where the manager listens: not in the home when that lies too deep."""
        found = json.loads((self.home / "manager.json").read_text())
        return self.home / str(found["unix_socket"])

    def csv(self, directory: str) -> Path:
        return self.root / directory / "final_results.csv"

    def run(self, *arguments: str) -> tuple[float, float]:
        """A command that must succeed: its seconds, and the most megabytes that it held."""
        begun = time.perf_counter()
        program = subprocess.Popen(
            command(*arguments), cwd=self.root, env=environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        peak = 0.0
        while program.poll() is None:
            peak = max(peak, _peak_mb(program.pid))
            with suppress(subprocess.TimeoutExpired):
                program.wait(LOOK_SECONDS)
        if program.returncode:
            raise SystemExit(f"sqlqueue {' '.join(arguments)} ended with {program.returncode}")
        return time.perf_counter() - begun, peak

    def init(self, cells: int) -> tuple[float, float]:
        """At least so many cells of the built-in experiment, each wanted by both directories.

        Exactly so many when they are whole hundreds.
        """
        self.write(shared(-(-cells // 100), 100), "sweep.yaml")
        return self.run("init", "sweep.yaml")

    def write(self, phases: dict[str, Any], name: str) -> None:
        """A sweep file."""
        (self.root / name).write_text(json.dumps(phases))

    def start(self) -> None:
        """A manager, once it takes connections."""
        self.begin_start()
        self.await_start()

    def begin_start(self) -> None:
        with (self.root / "manager.log").open("ab") as log:
            self.manager = subprocess.Popen(
                command("serve"), cwd=self.root, env=environment(),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def await_start(self) -> None:
        assert self.manager is not None
        deadline = time.monotonic() + START_SECONDS
        while not (self.home / "manager.json").exists():
            if self.manager.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"no manager came up:\n{(self.root / 'manager.log').read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        if self.manager is not None:
            self.manager.send_signal(signal.SIGTERM)
            self.manager.wait(START_SECONDS)
            self.manager = None

    def kill(self) -> None:
        """As a power cut does, but for what the kernel holds."""
        assert self.manager is not None
        self.manager.kill()
        self.manager.wait(START_SECONDS)
        self.manager = None

    @property
    def memory_mb(self) -> float:
        """What the manager holds in memory now, in millions of bytes."""
        assert self.manager is not None
        return psutil.Process(self.manager.pid).memory_info().rss / 1e6

    def claim(self, wanted: Mapping[str, int]) -> dict[str, list[Given]]:
        """So many tasks for each client, by its name, under leases that outlast the measurement."""
        found: dict[str, list[Given]] = {name: [] for name in wanted}
        with self.wire() as wire:
            lines = wire.makefile("rb")
            while due := {name: n - len(found[name]) for name, n in wanted.items()
                          if len(found[name]) < n}:  # fmt: skip
                portion = list(due.items())[:REQUESTS_AT_ONCE]
                wire.sendall(b"".join(_request(name, count) for name, count in portion))
                for name, _ in portion:
                    found[name] += _given(lines.readline())
        return found

    @contextmanager
    def wire(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX) as wire:
            connect(wire, self.socket)
            yield wire

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """Asks the manager over one connection: keywords to an answer."""
        with self.wire() as wire:
            lines = wire.makefile("rb")

            def ask(**message: Any) -> dict[str, Any]:
                wire.sendall(_line(message))
                return _answer(lines.readline())

            yield ask


def _peak_mb(pid: int) -> float:
    """The most that a process had in memory; 0 once it is gone.  (What `wait4` tells of a child
    counts what its parent held too.)"""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"


def _answer(line: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(line)
    if answer["type"] == "error":
        raise SystemExit(f"the manager answered: {answer['message']}")
    return answer


def _request(worker_id: str, count: int) -> bytes:
    count = min(count, MOST_AT_ONCE)
    request = {"type": "request_task", "worker_id": worker_id, "count": count}
    return _line(request | {"lease_seconds": 86400})


def _given(line: bytes) -> list[Given]:
    answer = _answer(line)
    tasks = answer["tasks"] if answer["type"] == "tasks" else [answer]
    return [Given(task["task_id"], task["attempt"]) for task in tasks]


def connect(wire: socket.socket, path: Path) -> None:
    """Through a descriptor of the folder: a socket's address holds only about 107 bytes."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        wire.connect(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def shared(seeds: int, batch_sizes: int) -> dict[str, Any]:
    """Phases of the same cells of the built-in experiment, one for each directory."""
    combinations = {
        "seed": f"range({seeds})", "batch_size": f"range(1, {batch_sizes + 1})", "dataset": "digits"
    }  # fmt: skip
    return {
        f"for_{each}": {"output_dir": each, "combinations": combinations} for each in DIRECTORIES
    }


def command(*arguments: str) -> list[str]:
    """The console script beside this interpreter, as users call it."""
    return [str(Path(sys.executable).with_name("sqlqueue")), *arguments]


def environment() -> dict[str, str]:
    """Ours, without a queue of the user's."""
    return {key: text for key, text in os.environ.items() if not key.startswith("SQLQUEUE_")}


@contextmanager
def bench_queue(folder: Path) -> Iterator[BenchQueue]:
    """A queue in a new folder below `folder`, gone afterwards."""
    root = Path(tempfile.mkdtemp(prefix="sqlqueue-bench-", dir=folder))
    queue = BenchQueue(root)
    try:
        yield queue
    finally:
        queue.stop()
        shutil.rmtree(root, ignore_errors=True)
