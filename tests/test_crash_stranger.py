"""Somebody looks into the database with a tool of their own while the manager runs.

The last to close an SQLite database removes its log; a stranger must never come to think that
it is the last.
"""

from __future__ import annotations

import subprocess
import sys

from conftest import audit
from sqlqueue.home import Home
from support import Cli, ManagerProcess

LOOK = """
import sqlite3, sys
base = sqlite3.connect(sys.argv[1])
base.execute("SELECT count(*) FROM tasks").fetchone()
base.execute("PRAGMA wal_checkpoint")
base.close()
"""


def look(home: Home) -> None:
    subprocess.run([sys.executable, "-c", LOOK, str(home.database)], check=True, timeout=30)


def test_what_was_acked_after_a_look_survives_a_kill(
    home: Home, small_queue: Cli, manager_process: ManagerProcess
) -> None:
    manager_process.start()
    for _ in range(2):
        task = manager_process.ask({"type": "request_task", "worker_id": "w"})
        manager_process.ask({"type": "status"})
        look(home)
        result = {"task_id": task["task_id"], "worker_id": "w", "result_data": {"value": 1}}
        assert manager_process.ask({"type": "submit_result"} | result) == {"type": "ack"}
    manager_process.kill()
    rows = (home.root / "results" / "final_results.csv").read_text().splitlines()
    assert len(rows) == 3
    assert audit(home) == []
    manager_process.start()
    assert manager_process.ask({"type": "request_task", "worker_id": "w"})["done"]
    small_queue.ok("verify")
