"""Where shared memory is unsafe the manager owns the database alone, and still answers."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from sqlqueue import filesystems, keys, protocol
from sqlqueue.home import Home
from sqlqueue.manager.writer import Job, Writer


@pytest.fixture
def network_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home on a filesystem whose type counts as a network's."""
    kind = filesystems.filesystem(tmp_path)
    assert kind
    monkeypatch.setattr(filesystems, "NETWORK_FILESYSTEMS", frozenset({kind}))
    home = Home(tmp_path / ".sqlqueue")
    home.create()
    keys.create(home)
    return home


def test_the_manager_owns_the_file_alone_with_a_rollback_journal(network_home: Home) -> None:
    writer = Writer(network_home, answered=lambda _: None)
    writer.start()
    try:
        other = sqlite3.connect(network_home.database, timeout=0.1)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("SELECT * FROM tasks").fetchall()
        other.close()
        assert not network_home.database.with_name("queue.db-wal").exists()
    finally:
        writer.stop()


def test_status_is_read_by_the_writer_itself(network_home: Home) -> None:
    writer = Writer(network_home, answered=lambda _: None)
    writer.start()
    try:
        figures = writer.status()
    finally:
        writer.stop()
    assert figures["manager"]["running"]
    assert figures["totals"]["total"] == 0
    assert figures["queue"] == network_home.queue_id()


def test_the_type_of_a_filesystem_is_found_by_its_longest_mount(tmp_path: Path) -> None:
    assert filesystems.filesystem(Path("/proc/self")) == "proc"
    assert not filesystems.on_network(tmp_path)


def test_the_manager_proves_its_queue_to_those_who_cannot_read_it(network_home: Home) -> None:
    answers: list[object] = []
    writer = Writer(network_home, answered=lambda each: answers.extend(reply for _, reply in each))
    writer.start()
    try:
        writer.put(Job(protocol.Audit(), each) for each in ("worker", "owner"))
    finally:
        writer.stop()
    assert [getattr(each, "code", None) for each in answers] == ["not_authorised", None]
    assert answers[1] == protocol.AuditedReply(findings=[])
