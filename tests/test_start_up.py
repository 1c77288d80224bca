"""What each command imports, measured in the real process: start-up stays light."""

from __future__ import annotations

import re

import pytest

from support import Cli, ManagerProcess

HEAVY = {"torch", "torchvision", "pandas", "sklearn", "scipy"}
DATABASE = {"sqlalchemy", "alembic", "sqlite3"}
REPORT = {"PYTHONPROFILEIMPORTTIME": "1"}
"""Has Python write one line per imported module to standard error."""


def imported(report: str) -> set[str]:
    """The top-level packages of an import report."""
    names = re.findall(r"^import time:\s+\d+ \|\s+\d+ \|\s*([\w.]+)$", report, re.MULTILINE)
    assert "encodings" in names
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["init", "--help"], ["work", "--help"], ["--version"]], ids=" ".join
)
def test_help_imports_nothing_heavy(cli: Cli, arguments: list[str]) -> None:
    done = cli(*arguments, **REPORT)
    assert done.returncode == 0
    heavy = HEAVY | DATABASE | {"numpy", "cryptography", "asyncio"}
    assert imported(done.stderr) & heavy == set()


def test_status_without_a_manager_imports_nothing_heavy(small_queue: Cli) -> None:
    done = small_queue("status", **REPORT)
    assert done.returncode == 0
    assert imported(done.stderr) & HEAVY == set()


def test_status_beside_a_manager_does_not_even_import_the_database(
    small_queue: Cli, manager: ManagerProcess
) -> None:
    assert manager.process is not None
    done = small_queue("status", **REPORT)
    assert done.returncode == 0
    assert imported(done.stderr) & (HEAVY | DATABASE) == set()


@pytest.mark.slow
def test_a_doctor_imports_nothing_heavy(small_queue: Cli) -> None:
    """torch is loaded in a process of its own."""
    done = small_queue("doctor", **REPORT)
    assert done.returncode == 0, done.stdout
    assert imported(done.stderr) & HEAVY == set()


def test_a_manager_imports_nothing_heavy(small_queue: Cli, manager_process: ManagerProcess) -> None:
    assert small_queue.root == manager_process.home.root
    manager = manager_process.start(**REPORT)
    answer = manager.ask({"type": "request_task", "worker_id": "plain"})
    assert answer["type"] == "task"
    assert manager.ask({"type": "release", "task_id": answer["task_id"], "worker_id": "plain"})
    assert imported(manager.said) & HEAVY == set()
