"""Whatever stands in the place of the database: every command refuses it, names it and the way
out, and leaves everything as it was.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from lost_queue import LOGS, LOSSES, Loss, Lost, in_memory
from needs import need

from sqlqueue import shell
from sqlqueue.cli import typed
from sqlqueue.store import condition

NOBODY = 65534
READING = {
    "serve": ["serve"],
    "status": ["status"],
    "verify": ["verify"],
    "repair": ["verify", "--repair"],
    "backup": ["backup", "copy.db"],
}
ADDING = {"init": ["init"], "dry run": ["init", "--dry-run"], "run": ["run"]}


@pytest.fixture(scope="module")
def original() -> Iterator[Lost]:
    with in_memory() as folder:
        queue = Lost.made(folder / "queue", "refused_trial", seeds=3)
        queue.submit(0.5)
        yield queue


@pytest.fixture
def queue(original: Lost, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lost]:
    with in_memory() as folder:
        made = original.copy(folder / "queue")
        monkeypatch.chdir(made.root)
        monkeypatch.setenv("XDG_STATE_HOME", str(folder))
        monkeypatch.delenv("SQLQUEUE_HOME", raising=False)
        monkeypatch.delenv("SQLQUEUE_DEBUG", raising=False)
        yield made


def tree(root: Path) -> dict[str, object]:
    """Every name, with what stands in the files; the note of who holds the lock left out."""
    found: dict[str, object] = {}
    for each in sorted(root.rglob("*")):
        if "__pycache__" in each.parts or each.name.endswith(("manager.lock", "-shm")):
            continue
        name = str(each.relative_to(root))
        found[name] = each.readlink() if each.is_symlink() else None
        if each.is_file() and not each.is_symlink():
            found[name] = each.read_bytes()
    return found


def said(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    monkeypatch.setattr(sys, "argv", ["sqlqueue", *arguments])
    status = shell.conclude(typed)
    told = capsys.readouterr()
    assert status == 2, (status, told.out, told.err)
    assert "Traceback" not in told.err
    assert "fault in sqlqueue" not in told.err
    assert "\nerror: " in f"\n{told.err}"
    return told.err


def newer(queue: Lost) -> None:
    with closing(sqlite3.connect(queue.home.database)) as base:
        base.execute("UPDATE alembic_version SET version_num = '9999'")
        base.commit()


def older(queue: Lost) -> None:
    """Of a version that this sqlqueue has forgotten."""
    with closing(sqlite3.connect(queue.home.database)) as base:
        base.execute("UPDATE alembic_version SET version_num = '0000'")
        base.commit()


CURES = {"newer": "install that version", "older": "is of version 0000"}


@pytest.mark.parametrize("spoil", [*LOSSES, *LOGS, newer, older], ids=lambda each: each.__name__)
def test_every_command_refuses_it_and_touches_nothing(
    queue: Lost, spoil: Loss, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(queue)
    before = tree(queue.root)
    sweeps = [str(each) for each in queue.files]
    commands = [*READING.values(), *([*each, *sweeps] for each in ADDING.values())]
    for command in commands:
        if spoil is older and command[0] == "backup":
            continue  # before an update is when a backup is wanted
        told = said(command, monkeypatch, capsys)
        if queue.home.path.exists() and queue.home.identity_file.exists():
            assert "queue.db" in told, (command, told)
            cure = CURES.get(spoil.__name__, "sqlqueue recover FILES")
            assert cure in told, (command, told)
        elif command[0] in ("init", "run"):
            assert "sqlqueue recover FILES" in told, (command, told)
        after = tree(queue.root)
        assert after == before, (command, sorted(after.keys() ^ before.keys()))


@pytest.mark.parametrize("spoil", [*LOSSES, *LOGS, newer, older], ids=lambda each: each.__name__)
def test_what_is_wrong_can_be_asked_for(queue: Lost, spoil: Loss) -> None:
    assert condition.problem(queue.home) is None
    spoil(queue)
    gone = spoil.__name__ in ("no_home", "no_identity", "newer", "older")
    assert (condition.problem(queue.home) is None) == gone


def test_one_that_this_user_may_not_read_is_not_taken_for_lost(
    queue: Lost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    need(os.geteuid() == 0, "root, to give a file to another user")
    for each in [queue.root.parent, queue.root, *queue.root.rglob("*")]:
        os.chown(each, NOBODY, NOBODY)
    os.chown(queue.home.database, 0, 0)
    queue.home.database.chmod(0o600)
    before = tree(queue.root)
    os.seteuid(NOBODY)
    try:
        for command in (*READING.values(), ["recover"], ["recover", "one.yaml"]):
            told = said(command, monkeypatch, capsys)
            assert "queue.db: cannot be read: Permission denied" in told
    finally:
        os.seteuid(0)
    assert tree(queue.root) == before


def test_one_that_this_user_may_only_read_is_told(
    queue: Lost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    need(os.geteuid() == 0, "root, to give a file to another user")
    for each in [queue.root.parent, queue.root, *queue.root.rglob("*")]:
        os.chown(each, NOBODY, NOBODY)
    os.chown(queue.home.database, 0, 0)
    queue.home.database.chmod(0o644)
    os.seteuid(NOBODY)
    try:
        assert "cannot be written by this user" in said(["serve"], monkeypatch, capsys)
    finally:
        os.seteuid(0)
