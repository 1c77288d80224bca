"""Many light clients in one process, each over a connection of its own.

A program of its own, so that it shares no interpreter with the manager:

    python -m benchmarks.clients MODE HOME < shares.json > figures.json

MODE says what each client does, for as long as it has a share of the work:

submit    submits the result of a task that it has, waits for the ack, submits the next
together  as a worker: its report and its next request are one write, and share a commit
in_turn   requests a task, waits, submits its result, waits, requests the next
return    connects as soon as there is a manager, and says what it holds

`shares.json`: for each client its name and its tasks, `[["c0", [["task", 1], ...]], ...]`; of what
is requested only the number of tasks counts.
Promises: an answer that is not exactly what is due ends it.  What is not here: a manager.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import uvloop

from benchmarks.bench_queue import BenchQueue, Given

METRICS = ("mean_test_acc", "std_test_acc", "mean_test_loss", "std_test_loss", "mean_val_acc",
           "std_val_acc", "mean_val_loss", "std_val_loss", "num_parameters", "best_epoch",
           "seconds")  # fmt: skip
ACK = b'{"type":"ack"}'
TASK = b'{"type":"task"'
RETRY_SECONDS = 0.02
Share = tuple[str, list[tuple[str, int]]]


class Client(asyncio.Protocol):
    """One connection with its share of the work; `next_step` is one of the modes."""

    def __init__(self, share: Share) -> None:
        self.name, self.tasks = share
        self.done = asyncio.get_running_loop().create_future()
        self.waits: list[float] = []
        self._rest = b""
        self._left = len(self.tasks)
        self._sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for each in lines:
            try:
                self.answered(each)
            except Exception as error:
                self.done.set_exception(error)

    def send(self, data: bytes) -> None:
        self._sent = time.perf_counter()
        self._transport.write(data)

    def begin(self) -> None:
        raise SystemExit("a mode says how it begins")

    def answered(self, line: bytes) -> None:
        raise SystemExit(f"a mode says what is due: {line!r}")

    def acked(self, line: bytes) -> None:
        """This must be an ack, and it counts."""
        if line != ACK:
            raise SystemExit(f"expected an ack, found {line[:300]!r}")
        self.waits.append(time.perf_counter() - self._sent)
        self._left -= 1
        if not self._left:
            self.done.set_result(None)


class Submit(Client):
    def begin(self) -> None:
        self._messages: Iterator[bytes] = iter([message(self.name, *each) for each in self.tasks])
        self.send(next(self._messages))

    def answered(self, line: bytes) -> None:
        self.acked(line)
        if self._left:
            self.send(next(self._messages))


class Together(Client):
    def begin(self) -> None:
        self._wanted = len(self.tasks) - 1
        self.send(self.request())

    def answered(self, line: bytes) -> None:
        if not line.startswith(TASK):
            return self.acked(line)
        task = json.loads(line)
        report = message(self.name, task["task_id"], task["attempt"])
        self._wanted -= 1
        return self.send(report + self.request() if self._wanted >= 0 else report)

    def request(self) -> bytes:
        return json.dumps({"type": "request_task", "worker_id": self.name}).encode() + b"\n"


class InTurn(Together):
    def answered(self, line: bytes) -> None:
        if line.startswith(TASK):
            task = json.loads(line)
            return self.send(message(self.name, task["task_id"], task["attempt"]))
        self.acked(line)
        return self.send(self.request()) if self._left else None


class Return(Client):
    def begin(self) -> None:
        held = [{"task_id": task, "attempt": attempt} for task, attempt in self.tasks]
        beat = {"type": "heartbeat", "worker_id": self.name, "tasks": held}
        self._left = 1
        self.send(json.dumps(beat).encode() + b"\n")

    def answered(self, line: bytes) -> None:
        if not line.startswith(ACK[:-1]) or b'"cancel":["' in line:
            raise SystemExit(f"expected to go on with all, found {line[:300]!r}")
        self.waits.append(time.perf_counter())
        self.done.set_result(None)


MODES: dict[str, type[Client]] = {
    "submit": Submit, "together": Together, "in_turn": InTurn, "return": Return
}  # fmt: skip


def message(worker_id: str, task_id: str, attempt: int) -> bytes:
    """A result as the built-in experiment returns it."""
    result = {name: random.random() for name in METRICS}
    submission = {"type": "submit_result", "task_id": task_id, "worker_id": worker_id,
                  "attempt": attempt, "seconds": 81.5, "result_data": result}  # fmt: skip
    return json.dumps(submission).encode() + b"\n"


async def work(mode: str, home: Path, shares: list[Share]) -> dict[str, Any]:
    """All connect; then all begin at once.  Who returns begins as soon as it is connected."""
    clients = [MODES[mode](share) for share in shares]
    begun = time.perf_counter()
    if mode == "return":
        await _return(clients, home)
    else:
        address = _address(home)
        for each in clients:
            await _connect(each, address)
        begun = time.perf_counter()
        for each in clients:
            each.begin()
    await asyncio.gather(*(each.done for each in clients))
    seconds = time.perf_counter() - begun
    waits = [wait for each in clients for wait in each.waits]
    return {"seconds": seconds, "begun": begun, "waits": waits}


async def _connect(client: Client, address: str) -> None:
    await asyncio.get_running_loop().create_unix_connection(lambda: client, address)


async def _return(clients: list[Client], home: Path) -> None:
    """One tries until there is a manager, which may listen elsewhere now; then all are there."""
    first, *others = clients
    while True:
        try:
            address = _address(home)
            await _connect(first, address)
            break
        except (OSError, ValueError):
            await asyncio.sleep(RETRY_SECONDS)
    first.begin()
    for each in others:
        await _connect(each, address)
        each.begin()


def _address(home: Path) -> str:
    """Relative to the folder that becomes the current one: an address holds about 107 bytes."""
    path = home / json.loads((home / "manager.json").read_text())["unix_socket"]
    os.chdir(path.parent)
    return path.name


@dataclass(frozen=True)
class Done:
    """What a run of clients came to: per second, how long each ack took, when it began."""

    rate: float
    waits: list[float]
    begun: float


def start(mode: str, queue: BenchQueue, shares: dict[str, list[Given]]) -> subprocess.Popen[bytes]:
    """This program, begun; `finish` waits for it."""
    given = [[name, [(each.task_id, each.attempt) for each in tasks]]
             for name, tasks in shares.items()]  # fmt: skip
    program = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.clients", mode, str(queue.home)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent,
    )  # fmt: skip
    assert program.stdin is not None
    program.stdin.write(json.dumps(given).encode())
    program.stdin.close()
    return program


def finish(program: subprocess.Popen[bytes]) -> Done:
    assert program.stdout is not None
    with program, program.stdout:
        text = program.stdout.read()
        if program.wait():
            raise SystemExit("the clients failed; what they said stands above")
    found = json.loads(text)
    return Done(len(found["waits"]) / found["seconds"], found["waits"], found["begun"])


def end(program: subprocess.Popen[bytes]) -> None:
    """Whatever it was at."""
    program.kill()
    with program:
        pass


def run(mode: str, queue: BenchQueue, shares: dict[str, list[Given]]) -> Done:
    return finish(start(mode, queue, shares))


def requests(clients: int, tasks: int) -> dict[str, list[Given]]:
    """Shares of clients that get their tasks by themselves."""
    return {f"c{number}": [Given("", 0)] * (tasks // clients) for number in range(clients)}


def main() -> None:
    mode, home = sys.argv[1], Path(sys.argv[2])
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    shares = [(name, [(task, attempt) for task, attempt in tasks])
              for name, tasks in json.load(sys.stdin)]  # fmt: skip
    json.dump(uvloop.run(work(mode, home, shares)), sys.stdout)


if __name__ == "__main__":
    main()
