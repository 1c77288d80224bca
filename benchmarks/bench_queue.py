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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIRECTORIES = ("results_first", "results_second")
START_SECONDS = 30.0
MOST_AT_ONCE = 1000


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

    def run(self, *arguments: str) -> None:
        """A command that must succeed."""
        subprocess.run(
            command(*arguments), cwd=self.root, env=environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip

    def init(self, cells: int) -> None:
        """At least so many cells of the built-in experiment, each wanted by both directories.

        Exactly so many when they are whole hundreds.
        """
        seeds, batch_sizes = list(range(-(-cells // 100))), list(range(1, 101))
        combinations = [{"seed": seeds}, {"batch_size": batch_sizes}, {"dataset": "digits"}]
        phases = {
            directory.removeprefix("results_"): {
                "output_dir": directory, "combinations": combinations,
            } for directory in DIRECTORIES
        }  # fmt: skip
        (self.root / "sweep.yaml").write_text(json.dumps(phases))
        self.run("init", "sweep.yaml")

    def start(self) -> None:
        """A manager, once it takes connections."""
        with (self.root / "manager.log").open("ab") as log:
            self.manager = subprocess.Popen(
                command("serve"), cwd=self.root, env=environment(),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
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

    def claim(self, worker_id: str, count: int) -> list[Given]:
        """So many tasks for one client, under leases that outlast the measurement."""
        with self.connection() as ask:
            found: list[Given] = []
            while len(found) < count:
                tasks = ask(
                    type="request_task", worker_id=worker_id, lease_seconds=86400,
                    count=min(count - len(found), MOST_AT_ONCE),
                )  # fmt: skip
                each = tasks["tasks"] if tasks["type"] == "tasks" else [tasks]
                found += [Given(task["task_id"], task["attempt"]) for task in each]
            return found

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """Asks the manager over one connection: keywords to an answer."""
        with socket.socket(socket.AF_UNIX) as wire:
            connect(wire, self.socket)
            lines = wire.makefile("rb")

            def ask(**message: Any) -> dict[str, Any]:
                wire.sendall(json.dumps(message).encode() + b"\n")
                answer: dict[str, Any] = json.loads(lines.readline())
                if answer["type"] == "error":
                    raise SystemExit(f"the manager answered: {answer['message']}")
                return answer

            yield ask


def connect(wire: socket.socket, path: Path) -> None:
    """Through a descriptor of the folder: a socket's address holds only about 107 bytes."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        wire.connect(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def command(*arguments: str) -> list[str]:
    """The console script beside this interpreter, as users call it."""
    return [str(Path(sys.executable).with_name("sqlqueue")), *arguments]


def environment() -> dict[str, str]:
    """Ours, without a queue of the user's."""
    return {key: text for key, text in os.environ.items() if not key.startswith("SQLQUEUE_")}


@contextmanager
def bench_queue(folder: Path) -> Iterator[BenchQueue]:
    """A queue in a new folder below `folder`, gone afterwards."""
    root = Path(tempfile.mkdtemp(prefix="bench-", dir=folder))
    queue = BenchQueue(root)
    try:
        yield queue
    finally:
        queue.stop()
        shutil.rmtree(root, ignore_errors=True)
