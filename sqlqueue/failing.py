"""`failures`: what failed, read from the database beside a running manager.  Read-only.

What is not here: what a kind is (`plan/kind.py`), how it is shown (`report_failures.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlqueue.home import Home
from sqlqueue.plan.selector import parse


def failures(home: Home, words: Sequence[str]) -> list[dict[str, Any]]:
    """The groups as docs/COMMANDS.md describes them; no words mean all.  Raises `QueueError`."""
    meant = parse(words, everything=not words)
    home.queue_id()
    from sqlqueue.store import engine, failing

    with engine.Reader(home) as reader:
        found = reader.read(lambda connection: failing.groups(connection, meant))
    return [
        {
            "kind": each.said.kind,
            "outcome": each.said.outcome,
            "error": each.said.heading,
            "count": each.count,
            "final": each.final,
            "again": each.count - each.final - each.kept,
            "kept": each.kept,
            "shared": each.shared.told(each.count),
            "phases": dict(each.phases),
            "task_ids": each.task_ids,
            "example": {
                "task_id": each.example["task_id"],
                "attempt": each.example["number"],
                "worker_id": each.example["worker_id"],
                "host": each.example["host"],
                "device": each.example["device"],
                "log_file": each.example["log_file"],
                "error": each.example["error"] or "",
            },
        }
        for each in found
    ]
