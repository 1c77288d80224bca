"""Many clients in one process: each submits a result, waits for its ack, submits the next.

A program of its own, so that it shares no interpreter with the manager:

    python -m benchmarks.clients SOCKET < work.json > figures.json

`work.json`: for each client its name and its tasks, `[["c0", [["task", 1], ...]], ...]`.
Promises: an answer that is not exactly an ack ends it.  What is not here: a manager.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import uvloop

from benchmarks.bench_queue import BenchQueue, Given

METRICS = ("mean_test_acc", "std_test_acc", "mean_test_loss", "std_test_loss", "mean_val_acc",
           "std_val_acc", "mean_val_loss", "std_val_loss", "num_parameters", "best_epoch",
           "seconds")  # fmt: skip
ACK = b'{"type":"ack"}\n'


class Client(asyncio.Protocol):
    """One connection with its share of the work."""

    def __init__(self, name: str, tasks: list[tuple[str, int]]) -> None:
        self.done = asyncio.get_running_loop().create_future()
        self.waits: list[float] = []
        self._messages = iter([message(name, *task) for task in tasks])
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.waits.append(time.perf_counter() - self._sent)
        if data != ACK:
            self.done.set_exception(SystemExit(f"expected an ack, found {data[:300]!r}"))
        else:
            self.submit()

    def submit(self) -> None:
        """The next result, if there is one."""
        data = next(self._messages, None)
        if data is None:
            self.done.set_result(None)
            return
        self._sent = time.perf_counter()
        self._transport.write(data)


def message(worker_id: str, task_id: str, attempt: int) -> bytes:
    """A result as the built-in experiment returns it."""
    result = {name: random.random() for name in METRICS}
    submission = {"type": "submit_result", "task_id": task_id, "worker_id": worker_id,
                  "attempt": attempt, "seconds": 81.5, "result_data": result}  # fmt: skip
    return json.dumps(submission).encode() + b"\n"


async def work(address: str, shares: list[tuple[str, list[tuple[str, int]]]]) -> dict[str, Any]:
    """All connect; then all begin at once."""
    loop = asyncio.get_running_loop()
    clients = [Client(*share) for share in shares]
    for each in clients:
        await loop.create_unix_connection(lambda each=each: each, address)  # type: ignore[misc]
    begun = time.perf_counter()
    for each in clients:
        each.submit()
    await asyncio.gather(*(each.done for each in clients))
    waits = [wait for each in clients for wait in each.waits]
    return {"seconds": time.perf_counter() - begun, "waits": waits}


def submit_all(queue: BenchQueue, shares: dict[str, list[Given]]) -> tuple[float, list[float]]:
    """Runs this program on a queue: results per second, and the seconds that each ack took."""
    given = [[name, [(each.task_id, each.attempt) for each in tasks]]
             for name, tasks in shares.items()]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.clients", str(queue.socket)],
        input=json.dumps(given).encode(), stdout=subprocess.PIPE, check=True,
        cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    figures = json.loads(done.stdout)
    return len(figures["waits"]) / figures["seconds"], figures["waits"]


def main() -> None:
    path = Path(sys.argv[1])
    os.chdir(path.parent)  # a socket's address holds only about 107 bytes
    shares = [(name, [(task, attempt) for task, attempt in tasks])
              for name, tasks in json.load(sys.stdin)]  # fmt: skip
    json.dump(uvloop.run(work(path.name, shares)), sys.stdout)


if __name__ == "__main__":
    main()
