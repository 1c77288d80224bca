"""Where a worker works: the home that it shares with the manager, or a folder of its own.

With a shared home everything lies there.  Elsewhere (`work --manager host:port`) the
user's state folder holds a home of the same shape for logs, checkpoints and results, and
experiments run in the current directory.  What is not here: what lies in those folders.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from sqlqueue import unsubmitted
from sqlqueue.disk import Disk
from sqlqueue.home import Home
from sqlqueue.protocol import TaskReply
from sqlqueue.worker.client import Client
from sqlqueue.worker.devices import Device
from sqlqueue.worker.machine import mark
from sqlqueue.worker.names import host
from sqlqueue.worker.outcome import Order

APPLICATION: Final = "sqlqueue"


def state_folder() -> Path:
    """The user's own folder for what could not be kept in a home."""
    import platformdirs

    return platformdirs.user_state_path(APPLICATION)


@dataclass(frozen=True)
class Place:
    """`home` is the manager's when `address` is None; else names bear the mark of `machine`."""

    home: Home
    root: Path
    queue: str
    address: str | None = None
    token: str | None = None
    machine: str = ""

    def client(self, timeout_seconds: float = 30.0) -> Client:
        if self.address is None:
            return Client(self.home, timeout_seconds=timeout_seconds)
        return Client(address=self.address, token=self.token, timeout_seconds=timeout_seconds)

    def unsubmitted_folders(self, output_dir: str) -> list[Path]:
        """Where a result may be kept, the best first."""
        if self.address is not None:
            return self.own_folders()
        return [self.home.absolute(output_dir) / unsubmitted.FOLDER, *self.own_folders()]

    def own_folders(self) -> list[Path]:
        """In the home and in the user's state folder, where each queue has its own."""
        return [self.home.unsubmitted, state_folder() / unsubmitted.FOLDER / self.queue]

    @property
    def spare_logs(self) -> Path:
        """Where output is captured when the home takes none."""
        return state_folder() / "logs" / self.queue

    @property
    def attempts(self) -> list[Path]:
        """Where attempts leave how they ended: in the home, or where there was room."""
        return [self.home.attempts, state_folder() / "attempts" / self.queue]

    def order(self, task: TaskReply, worker_id: str, device: Device) -> Order:
        """What a child must know; raises `ProtocolError` for ids that cannot be file names."""
        task_id = unsubmitted.safe_name(task.task_id)
        log = self.home.logs / task_id / f"{task.attempt}.log"
        folder, spare = (each / f"{task_id}-{task.attempt}" for each in self.attempts)
        return Order(
            queue=self.queue,
            task_id=task_id,
            attempt=task.attempt,
            signature=task.signature,
            phase=task.phase,
            experiment=task.experiment,
            config=task.config,
            seed=task.seed,
            output_dir=task.output_dir,
            worker_id=worker_id,
            host=host(),
            device=device.reported,
            run_device=device.run_device,
            code_version="",
            log_file=self._log_file(log),
            log=str(log),
            folder=str(folder),
            checkpoint=str(self.home.checkpoints / _checkpoint(task)),
            spare=str(spare),
            elsewhere=self.address is not None,
            command=task.command,
        )

    def _log_file(self, log: Path) -> str:
        if self.address is not None:
            return str(log)
        return self.home.relative(self._logs / log.relative_to(self.home.logs))

    @cached_property
    def _logs(self) -> Path:
        return self.home.logs.resolve()


def _checkpoint(task: TaskReply) -> str:
    """The folder that all attempts share, but for those from before a task ran once more: what
    they left may be what is wrong."""
    own = unsubmitted.safe_name(task.signature)
    return f"{own}-{task.rerun_after}" if task.rerun_after else own


def shared(home: Home) -> Place:
    """On the manager's filesystem; raises `HomeError` when there is no queue."""
    return Place(home, home.root.resolve(), home.queue_id())


def remote(address: str, token: str | None, disk: Disk | None = None) -> Place:
    """Elsewhere: the manager at `host:port`."""
    base, disk = state_folder(), disk or Disk()
    folder = base / "remote" / re.sub("[^A-Za-z0-9._-]", "_", address)
    if not base.parent.is_dir():
        disk.make_folders(base.parent, 0o700)
    disk.make_folders(folder, 0o700, below=base.parent)
    home = Home(folder)
    queue = home.create(disk)
    return Place(home, Path.cwd().resolve(), queue, address, token, mark(home.workers, disk))
