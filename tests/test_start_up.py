"""What each command imports, and what it builds, in the real process: start-up stays light.

Counted, not timed.  `MOST_MODULES` holds for the versions of `constraints.txt`; what it guards
against is a dependency that nobody meant to import.
"""

from __future__ import annotations

import re

import pytest

from sqlqueue.cli import app
from sqlqueue.frugal import command_of
from support import Cli, ManagerProcess

HEAVY = {"torch", "torchvision", "pandas", "sklearn", "scipy"}
DATABASE = {"sqlalchemy", "alembic", "sqlite3"}
TALKING = {"msgspec", "sqlqueue.protocol", "sqlqueue.contact", "secrets", "hashlib"}
"""What a queue is asked with, and what is not needed to say how one is asked."""
PEOPLE = {"rich", "pydantic", "yaml", "uvloop", "cryptography", "numpy"}
"""Nothing that `status` prints needs these."""
MOST_MODULES = {"--help": 190, "status": 225, "status, no manager": 460}
REPORT = {"PYTHONPROFILEIMPORTTIME": "1"}
"""Has Python write one line per imported module to standard error."""


def modules(report: str) -> set[str]:
    """All that an import report names."""
    names = re.findall(r"^import time:\s+\d+ \|\s+\d+ \|\s*([\w.]+)$", report, re.MULTILINE)
    assert "encodings" in names
    return set(names)


def imported(report: str) -> set[str]:
    """The top-level packages of an import report."""
    return {name.partition(".")[0] for name in modules(report)}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["init", "--help"], ["work", "--help"], ["--version"]], ids=" ".join
)
def test_help_imports_nothing_heavy(cli: Cli, arguments: list[str]) -> None:
    done = cli(*arguments, **REPORT)
    assert done.returncode == 0
    heavy = HEAVY | DATABASE | {"numpy", "cryptography", "asyncio"}
    assert imported(done.stderr) & heavy == set()


def test_the_page_of_commands_needs_no_queue(cli: Cli) -> None:
    found = modules(cli("--help", **REPORT).stderr)
    assert found & TALKING == set()
    assert len(found) <= MOST_MODULES["--help"]


def test_only_what_was_typed_is_built() -> None:
    """Building every option of every command is what `--help` would mostly do."""
    bare = {each.name for each in command_of(app, ["status", "--json"]).commands.values()
            if not each.params}  # fmt: skip
    assert "status" not in bare
    assert {"init", "serve", "work", "import", "doctor", "logs", "retry"} <= bare
    whole = command_of(app, None).commands
    assert [name for name, each in whole.items() if not each.params] == []
    assert bare | {"status"} == set(whole)


def test_status_without_a_manager_imports_nothing_heavy(small_queue: Cli) -> None:
    done = small_queue("status", **REPORT)
    assert done.returncode == 0
    assert imported(done.stderr) & (HEAVY | PEOPLE | {"alembic"}) == set()
    assert len(modules(done.stderr)) <= MOST_MODULES["status, no manager"]


def test_status_beside_a_manager_does_not_even_import_the_database(
    small_queue: Cli, manager: ManagerProcess
) -> None:
    assert manager.process is not None
    done = small_queue("status", **REPORT)
    assert done.returncode == 0
    found = modules(done.stderr)
    assert imported(done.stderr) & (HEAVY | DATABASE | PEOPLE | {"asyncio", "ssl"}) == set()
    assert found & {"sqlqueue.store", "sqlqueue.manager", "secrets", "hashlib"} == set()
    assert len(found) <= MOST_MODULES["status"]


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
