"""A queue for the doctor to look at, made ill on purpose; what is told, and curing it.

`Ward` is a root with a queue of two tasks, one completed; `visit` is the command in this
process, with a torch that loads at once.  Promises: mounts and processes that a test makes
through the ward are gone when it leaves.  What is not here: the illnesses.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from crash_scenarios import MEMORY, prepare

from sqlqueue import keys, protocol
from sqlqueue.disk import Disk
from sqlqueue.doctor import words
from sqlqueue.doctor.examination import Examination, wrong
from sqlqueue.home import NAME, Home
from sqlqueue.manager.local import open_local
from support import Cli, environment

TORCH = {"torch.py": "__version__ = '0'\nclass version: cuda = None\n"
                     "class cuda:\n    @staticmethod\n    def is_available(): return True\n",
         "torchvision.py": ""}  # fmt: skip
RESULTS = "results"


@dataclass
class Ward:
    """One queue, and whoever is in the room."""

    root: Path
    stack: ExitStack
    packages: Path
    disk: Disk | None = None
    limit_seconds: float = 5.0
    named: bool = True
    path: Path | None = None
    told: list[dict[str, Any]] = field(default_factory=list)

    @property
    def home(self) -> Home:
        return Home(self.path or self.root / NAME)

    @property
    def csv(self) -> Path:
        return self.root / RESULTS / "final_results.csv"

    @property
    def cli(self) -> Cli:
        """The real command line; it, too, loads the small torch."""
        return Cli(self.root, environment(self.root / "state") | {"PYTHONPATH": str(self.packages)})

    def visit(self) -> int:
        """The command in this process; its findings are in `told`, its exit status comes back."""
        examination = Examination(self.home, self.named, self.limit_seconds, self.disk)
        found = examination.run()
        text = words.as_json(found, str(self.home.path), not wrong(found))
        self.told = json.loads(text)["findings"]
        return int(wrong(found))

    def finding(self, kind: str) -> dict[str, Any] | None:
        return next((each for each in self.told if each["kind"] == kind), None)

    def cure(self, command: str) -> None:
        """Types what the doctor said."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["sh", "-c", command], cwd=self.root, env=os.environ | {"PATH": path}, text=True,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"

    # --- mounts and processes ---------------------------------------------------------

    def mount(self, *words: str, on: Path) -> Path:
        """Mounted until the test leaves."""
        on.mkdir(exist_ok=True)
        run("mount", *words, str(on))
        self.stack.callback(run, "umount", "-l", str(on))
        return on

    def bindfs(self, folder: Path, *options: str) -> subprocess.Popen[bytes]:
        """A FUSE filesystem over the folder itself; the process that serves it."""
        process = self.start("bindfs", "-f", *options, str(folder), str(folder))
        end = time.monotonic() + 10
        while not os.path.ismount(folder) and time.monotonic() < end:
            assert process.poll() is None
        self.stack.callback(run, "umount", "-l", str(folder))
        return process

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Killed when the test leaves."""
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)
        return process


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)


@contextmanager
def ward(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ward]:
    """A healthy queue, and an environment in which nothing else is wrong."""
    packages = root / "packages"
    place = root / "q"
    packages.mkdir()
    place.mkdir()
    for name, text in TORCH.items():
        (packages / name).write_text(text)
    for name in ("SQLQUEUE_HOME", "SQLQUEUE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(packages))
    monkeypatch.setenv("XDG_STATE_HOME", str(root / "state"))
    monkeypatch.chdir(place)
    fill(Home(place / NAME))
    with ExitStack() as stack:
        yield Ward(place, stack, packages)


def fill(home: Home, *directories: str) -> None:
    """Two tasks, of which one is completed."""
    home.create()
    keys.create(home)
    folders = list(directories) or [RESULTS]
    tasks = [
        protocol.NewTask(signature=f"{number:032x}", phase="one", experiment=MEMORY.name,
                         parameters={"x": number}, output_dir=folder)
        for number in (1, 2) for folder in folders
    ]  # fmt: skip
    with open_local(home) as ask:
        ask.request(prepare(*folders))
        ask.request(protocol.AddTasks(tasks=tasks, experiments=[MEMORY]))
        submit(ask.request, 0)


def submit(ask: Callable[[Any], Any], number: int) -> None:
    ask(
        protocol.SubmitResult(
            task_id=f"one_{number}", worker_id="w", result_data={"y": 1.5}, signature=None
        )
    )
