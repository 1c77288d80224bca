"""Clients that talk to a manager by themselves, in plain JSON, and never give up.

Each requests tasks, submits results and writes down every ack that it heard (`ledger.py`).  Now
and then one hangs up before it reads the answer, submits once more, or submits another result
for what is completed.  What is not here: the package's own client.
"""

from __future__ import annotations

import contextlib
import json
import random
import threading
from dataclasses import dataclass, field
from typing import Any

from ledger import Ledger, metrics

from sqlqueue.home import Home
from support import connect

FAILING = "hopeless"
"""Tasks of this phase fail whoever runs them."""


@dataclass
class Client:
    """Works until `over`; its connection may break at any time."""

    home: Home
    ledger: Ledger
    name: str
    chance: random.Random
    over: threading.Event
    done: list[dict[str, Any]] = field(default_factory=list)

    def run(self) -> None:
        self._book = self.ledger.book(self.name)
        try:
            while not self.over.is_set():
                self._work()
        finally:
            self._book.close()

    def leave(self) -> None:
        """Says that it holds nothing any more."""
        self._ask({"type": "announce", "worker_id": self.name})

    def _work(self) -> None:
        """One task, or one of the things that a strange client does."""
        if self.done and self.chance.random() < 0.3:
            self._submit(self.chance.choice(self.done))
            return
        request_id = f"{self.name}-{self.chance.getrandbits(64):x}"
        task = self._insist({"type": "request_task", "request_id": request_id})
        if task and task["type"] == "task":
            self._perform(task)
        else:
            self.over.wait(0.1)

    def _perform(self, task: dict[str, Any]) -> None:
        of = {"task_id": task["task_id"], "attempt": task["attempt"]}
        if task["phase"] == FAILING:
            self._insist({"type": "task_failed", "error": "hopeless", **of})
            return
        self._submit({**of, "seed": task["seed"], "output_dirs": task["output_dirs"]})

    def _submit(self, task: dict[str, Any]) -> None:
        """The same result, or another one, for the same or for no attempt."""
        numbered = {"attempt": task["attempt"]} if self.chance.random() < 0.7 else {}
        by = f"{self.name}{self.chance.choice(['', '', '-again'])}"
        result = {"result_data": metrics(task["seed"], by), "task_id": task["task_id"]}
        answer = self._insist({"type": "submit_result", **result, **numbered})
        if answer == {"type": "ack"}:
            self._book.ack(task["seed"], task["output_dirs"])
            self.done.append(task)

    def _insist(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """The answer, asked for again and again; None when all is over."""
        message["worker_id"] = self.name
        while not self.over.is_set():
            with contextlib.suppress(OSError, ValueError):
                answer = self._ask(message)
                if answer["type"] != "error":
                    return answer
                assert answer["retryable"], f"{message} was refused: {answer}"
            self.over.wait(0.05)
        return None

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Over a connection of its own; raises `OSError` and `ValueError` as it breaks."""
        found = self.home.manager() or {}
        if "unix_socket" not in found:
            raise ConnectionError("no manager")
        with connect(self.home.path / str(found["unix_socket"])) as connection:
            connection.sendall(json.dumps(message).encode() + b"\n")
            if self.chance.random() < 0.05 and message["type"] != "announce":
                raise ConnectionError("hung up before the answer came")
            with connection.makefile("rb") as lines:
                answer = json.loads(lines.readline())
        assert isinstance(answer, dict)
        return answer
