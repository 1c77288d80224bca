"""The processes of a campaign: managers, workers and commands, and the kills that they suffer.

Every process is `python -m sqlqueue`, as a person starts it.  Promises: each is ended here, by
its own process id, however the campaign ends; every death is counted under what died.
What is not here: when to kill (`campaign.py`), what must hold (`ledger.py`).
"""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from tally import count

from sqlqueue.home import Home
from support import Cli, connect, sqlqueue_command, stop

Process = subprocess.Popen[bytes]


@dataclass
class Crew:
    """Starts and kills; thread-safe as long as each thread keeps to its own kind."""

    home: Home
    cli: Cli
    kills: Counter[str] = field(default_factory=Counter)
    started: list[Process] = field(default_factory=list)
    workers: list[Process] = field(default_factory=list)

    def start(self, *arguments: str) -> Process:
        """A command in the background; what it says goes to `<command>.output`."""
        with self.output(arguments[0]).open("ab") as sink:
            process = subprocess.Popen(
                sqlqueue_command(*arguments), cwd=self.home.root, env=self.cli.environment,
                stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
            )  # fmt: skip
        self.started.append(process)
        return process

    def output(self, command: str) -> Path:
        return self.home.root / f"{command}.output"

    def last_words(self, process: Process) -> str:
        """How it ended, and what commands of its name said last."""
        command = process.args[process.args.index("sqlqueue") + 1]
        said = self.output(command).read_text(errors="replace")[-3000:]
        return f"{command} exited {process.returncode}\n{said}"

    def kill(self, process: Process, what: str) -> bool:
        """SIGKILL; False when it had ended by itself."""
        process.kill()
        process.wait()
        killed = process.returncode == -signal.SIGKILL
        if killed:
            self.count(what)
        return killed

    def count(self, what: str) -> None:
        self.kills[what] += 1
        count("kills")
        count(f"{what} kills")

    def listens(self, manager: Process, seconds: float) -> bool:
        """Whether it takes connections; waits for it so long, unless it ends."""
        deadline = time.monotonic() + seconds
        while manager.poll() is None and time.monotonic() < deadline:
            found = self.home.manager()
            if found is not None and found.get("pid") == manager.pid:
                with contextlib.suppress(OSError):
                    connect(self.home.path / str(found["unix_socket"])).close()
                    return True
            time.sleep(0.01)
        return False

    def begin_workers(self, number: int, slots: int) -> None:
        self.slots = slots
        self.workers = [self.worker() for _ in range(number)]

    def worker(self, *options: str) -> Process:
        return self.start("work", "--cpu", "--slots", str(self.slots), *options)

    def kill_a_worker(self, chance: random.Random) -> None:
        """One of them, and at once another in its place."""
        number = chance.randrange(len(self.workers))
        self.kill(self.workers[number], "worker")
        self.workers[number] = self.worker()

    def replace_ended(self) -> None:
        """Workers that found all tasks finished: more are added, and children are to be killed."""
        for number, each in enumerate(self.workers):
            if each.poll() is not None:
                self.workers[number] = self.worker()

    def kill_a_child(self, chance: random.Random) -> None:
        """The process of an experiment, if one runs just now."""
        running = list(self.children())
        if running:
            with contextlib.suppress(psutil.NoSuchProcess):
                chance.choice(running).kill()
                self.count("child")

    def children(self) -> Iterator[psutil.Process]:
        """The processes in which experiments run."""
        for worker in list(self.workers):
            with contextlib.suppress(psutil.Error):
                for each in psutil.Process(worker.pid).children():
                    if "sqlqueue.worker.child" in " ".join(each.cmdline()):
                        yield each

    def end(self) -> None:
        """Ends what still runs; children end with their workers."""
        for each in self.started:
            if each.poll() is None:
                each.kill()
            each.wait()

    def stop_workers(self) -> None:
        for each in self.workers:
            stop(each)

    def said(self) -> str:
        """Everything that any of them said."""
        return "\n".join(
            f"{each.name}: {each.read_text(errors='replace')}"
            for each in sorted(self.home.root.glob("*.output"))
        )


class Threads:
    """Threads that all end when one fails; the first failure is raised to who waits."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self._errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def start(self, work: object, *arguments: object) -> threading.Thread:
        def target() -> None:
            try:
                work(*arguments)  # type: ignore[operator]
            except BaseException as error:
                self._errors.append(error)
                self.over.set()

        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def join(self, threads: list[threading.Thread], seconds: float) -> None:
        """Until those have ended; raises what any thread raised."""
        deadline = time.monotonic() + seconds
        for each in threads:
            while each.is_alive() and not self._errors:
                each.join(0.1)
                assert time.monotonic() < deadline, f"not done after {seconds:g} s"
            self.check()

    def check(self) -> None:
        if self._errors:
            raise self._errors[0]

    def end(self) -> None:
        self.over.set()
        for each in self._threads:
            each.join(60.0)
