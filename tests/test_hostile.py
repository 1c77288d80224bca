"""A live manager among peers that mean no good, while somebody works: five hundred in every run.

A hundred thousand beside real workers: `campaign/test_hostile_campaign.py`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
from hostile import Target
from tally import count

from sqlqueue import keys
from sqlqueue.home import Home
from support import Cli, ManagerProcess, connect, exchange, wait_until

CONNECTIONS = 500
PER_SECOND = 800.0
SLOWEST_SECONDS = 5.0
SWEEP = """\
defaults: {{output_dir: results, experiment: "small:measure"}}
busy: {{combinations: [{{seed: {seeds}}}]}}
"""
TASKS = 2000


def test_five_hundred_hostile_connections_disturb_nobody(
    cli: Cli, manager_process: ManagerProcess, tmp_path: Path
) -> None:
    (tmp_path / "small.py").write_text("def measure(seed):\n    return {'value': seed}\n")
    (tmp_path / "busy.yaml").write_text(SWEEP.format(seeds=list(range(TASKS))))
    cli.set_up("init", "busy.yaml")
    manager = manager_process.start("--host", "127.0.0.1", "--port", "0")
    assert manager.process
    process = psutil.Process(manager.process.pid)
    worker = Worker(manager)
    worker.start()
    wait_until(lambda: worker.waits, 10, "the first result")
    before = process.num_fds()
    done = flood(tmp_path, target(manager.home, ["127.0.0.1", "127.0.0.2", "127.0.0.3"]))
    try:
        assert done.wait(60) == 0
    finally:
        done.kill()
        done.wait()
        worker.over.set()
        worker.join()
    told = json.loads((tmp_path / "flood.json").read_text())
    assert sum(told.values()) == CONNECTIONS
    count("hostile connections", CONNECTIONS)
    assert worker.trouble is None
    assert max(worker.waits) < SLOWEST_SECONDS
    assert worker.completed > 20
    wait_until(lambda: process.num_fds() <= before, 15, "descriptors as before")
    totals = manager.ask({"type": "status"})["status"]["totals"]
    assert totals["completed"] == worker.completed
    assert "Traceback" not in manager.said
    manager.stop()
    assert cli("verify").returncode == 0


def target(home: Home, sources: list[str], **changes: object) -> Target:
    found = home.manager() or {}
    given: dict[str, Any] = {
        "host": found["host"],
        "port": found["port"],
        "unix": str(home.path / found["unix_socket"]),
        "secret": keys.load(home).worker,
        "sources": sources,
        "connections": CONNECTIONS,
        "per_second": PER_SECOND,
        "seed": 7,
    }
    return Target(**given | changes)


def flood(folder: Path, target: Target, *inside: str) -> subprocess.Popen[bytes]:
    """Begun, and as little in the way of others as can be; its tally goes to `flood.json`."""
    order = folder / "target.json"
    order.write_text(json.dumps(asdict(target)))
    here = Path(__file__).parent
    path = os.pathsep.join([str(here.parent), str(here)])
    with (folder / "flood.json").open("wb") as out, (folder / "flood.said").open("wb") as said:
        return subprocess.Popen(
            [*inside, "nice", "-n", "19", sys.executable, "-m", "hostile", str(order)],
            env=os.environ | {"PYTHONPATH": path}, stdout=out, stderr=said,
        )  # fmt: skip


class Worker(threading.Thread):
    """Requests and submits over the Unix socket, and measures how long each pair takes."""

    def __init__(self, manager: ManagerProcess) -> None:
        super().__init__()
        self.path = manager.socket_path
        self.over = threading.Event()
        self.completed = 0
        self.waits: list[float] = []
        self.trouble: str | None = None

    def run(self) -> None:
        with connect(self.path, 30) as wire:
            while not self.over.is_set() and self.trouble is None:
                begun = time.monotonic()
                self._work(wire)
                self.waits.append(time.monotonic() - begun)

    def _work(self, wire: socket.socket) -> None:
        """One task; where none is left, the question alone."""
        task = exchange(wire, {"type": "request_task", "worker_id": "honest"})
        if task["type"] != "task":
            self.over.wait(0.01)
            return
        told = {"type": "submit_result", "task_id": task["task_id"], "worker_id": "honest",
                "result_data": {"value": 1}}  # fmt: skip
        answer = exchange(wire, told)
        self.completed += 1
        if answer != {"type": "ack"}:
            self.trouble = f"no ack: {answer}"
