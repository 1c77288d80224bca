"""What people do to a CSV, with the manager running and with none: no byte of theirs is lost, no
acked row is missing afterwards, the other directory goes on, and nobody has to help.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from crash_proof import Workshop, agrees, query, workshop
from crash_scenarios import EDITS, MAIN, Room, by_rename, opened, rows, submit

from sqlqueue.checking import repair, repaired_lines
from sqlqueue.disk import Disk
from sqlqueue.protocol import Ack, Error
from sqlqueue.store import recovery
from sqlqueue.store.audit import verify
from sqlqueue.store.csv_file import MARKER

Edit = Callable[[Room], list[bytes]]


@pytest.fixture(scope="module")
def shop() -> Iterator[Workshop]:
    with workshop() as made:
        yield made


@pytest.fixture
def room(shop: Workshop) -> Room:
    return shop.room(MAIN[2])[0]


def a_link(room: Room) -> list[bytes]:
    elsewhere = room.root / "elsewhere.csv"
    elsewhere.write_bytes(b"precious")
    room.csv("a").unlink()
    room.csv("a").symlink_to(elsewhere)
    return [b"precious"]


def a_link_to_itself(room: Room) -> list[bytes]:
    elsewhere = room.root / f"kept-{len(list(room.root.iterdir()))}.csv"
    room.csv("a").rename(elsewhere)
    room.csv("a").symlink_to(elsewhere)
    return [elsewhere.read_bytes()]


def a_folder(room: Room) -> list[bytes]:
    room.csv("a").unlink()
    room.csv("a").mkdir()
    (room.csv("a") / "notes.txt").write_bytes(b"in here")
    return [b"in here"]


def a_pipe(room: Room) -> list[bytes]:
    room.csv("a").unlink()
    os.mkfifo(room.csv("a"))
    return []


def emptied(room: Room) -> list[bytes]:
    room.csv("a").write_bytes(b"")
    return []


def one_byte(room: Room) -> list[bytes]:
    """In place, at the same length."""
    data = bytearray(room.csv("a").read_bytes())
    data[-3] ^= 1
    with room.csv("a").open("r+b") as file:
        file.write(data)
    return [bytes(data)]


def a_long_tail(room: Room) -> list[bytes]:
    with room.csv("a").open("ab") as file:
        file.write(b"0123456789abcdef" * 100_000)
    return [b"0123456789abcdef" * 100_000]


def one_file_in_both(room: Room) -> list[bytes]:
    """As what removes duplicates does to files that are alike."""
    room.csv("b").unlink()
    os.link(room.csv("a"), room.csv("b"))
    return []


def old_line_ends(room: Room) -> list[bytes]:
    text = room.csv("a").read_bytes().replace(b"\n", b"\r")
    room.csv("a").write_bytes(text)
    return [text]


ALL_EDITS: tuple[Edit, ...] = (
    *EDITS, a_link, a_link_to_itself, a_folder, a_pipe, emptied, one_byte, a_long_tail,
    one_file_in_both, old_line_ends,
)  # fmt: skip


@pytest.mark.parametrize("metrics", [{}, {"new": 1.0}], ids=["a row", "a new metric"])
@pytest.mark.parametrize("edit", ALL_EDITS, ids=lambda edit: edit.__name__)
def test_while_the_manager_runs(room: Room, edit: Edit, metrics: dict[str, float]) -> None:
    with opened(room.home) as desk:
        assert submit(desk, 4) == [Ack]
        texts = edit(room)
        assert submit(desk, 2, 3, **metrics) == [Ack, Ack]
        agrees(room, rows(0, 1, 2, 3, 4, 5), texts)
        texts += edit(room)
        assert submit(desk, 2, 3, **metrics) == [Ack, Ack]
    with opened(room.home):
        pass
    agrees(room, rows(0, 1, 2, 3, 4, 5), texts)


@pytest.mark.parametrize("edit", ALL_EDITS, ids=lambda edit: edit.__name__)
def test_while_none_runs(room: Room, edit: Edit) -> None:
    texts = edit(room)
    assert len(list(verify(room.home))) < 5, "whatever it is, it is told"
    with opened(room.home) as desk:
        agrees(room, rows(0, 1, 5), texts)
        assert submit(desk, 2, 3, 4) == [Ack, Ack, Ack]
    agrees(room, rows(0, 1, 2, 3, 4, 5), texts)


def test_what_was_moved_aside_is_named_in_log_and_database(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(room.home) as desk:
        by_rename(room.csv("a"), b"mine")
        submit(desk, 2)
    ((path,),) = query(room, "SELECT path FROM set_aside")
    assert (room.root / path).read_bytes() == b"mine"
    assert any(path.split("/")[1] in each.getMessage() for each in caplog.records)


def test_what_is_moved_aside_in_the_same_second_is_all_kept(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = SimpleNamespace(strftime=lambda _: "20260302-120000", time=time.time)
    monkeypatch.setattr(recovery, "time", stopped)
    texts = [b"first", b"second", b"third"]
    with opened(room.home) as desk:
        for cell, text in zip((2, 4), texts, strict=False):
            by_rename(room.csv("a"), text)
            assert submit(desk, cell) == [Ack]
    by_rename(room.csv("a"), texts[2])
    with opened(room.home):
        pass
    agrees(room, rows(0, 1, 2, 4, 5), texts)
    named = sorted((room.root / "a").glob("*.set-aside-20260302-120000*"))
    assert [each.read_bytes() for each in named] == texts


class Overtaken(Disk):
    """Somebody else makes a file of the name that was free a moment ago."""

    theirs: Path | None = None

    def set_aside(self, source: Path, target: Path) -> None:
        if self.theirs is None:
            self.theirs = target
            target.write_bytes(b"theirs")
        super().set_aside(source, target)


def test_a_name_that_somebody_else_takes_first_stays_theirs(room: Room) -> None:
    by_rename(room.csv("a"), b"mine")
    with opened(room.home, Overtaken()) as desk:
        desk.later()
        assert submit(desk, 2) == [Ack]
    agrees(room, rows(0, 1, 2, 5), [b"mine", b"theirs"])


def test_an_edit_at_every_result_loses_nothing(room: Room) -> None:
    texts = []
    with opened(room.home) as desk:
        for number, cell in enumerate((2, 4, 3)):
            texts.append(b"edit %d" % number)
            with room.csv("a").open("ab") as file:
                file.write(texts[-1])
            assert submit(desk, cell) == [Ack]
    with opened(room.home):
        pass
    agrees(room, rows(0, 1, 2, 3, 4, 5), texts)


def test_a_tail_that_is_too_long_to_keep_apart_stays_with_its_file(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "LONGEST_TAIL_BYTES", 1000)
    texts = a_long_tail(room)
    with opened(room.home) as desk:
        assert submit(desk, 2) == [Ack]
    agrees(room, rows(0, 1, 2, 5), texts)
    assert not list(room.home.salvage.iterdir())
    assert len(list((room.root / "a").glob("*set-aside*"))) == 1


def test_permissions_of_a_csv_are_kept_when_it_is_rewritten(room: Room) -> None:
    room.csv("a").chmod(0o640)
    with opened(room.home) as desk:
        assert submit(desk, 2, new=1.0) == [Ack]
    assert stat.S_IMODE(room.csv("a").stat().st_mode) == 0o640


def test_a_second_name_keeps_what_it_had(room: Room) -> None:
    kept = room.root / "kept.csv"
    os.link(room.csv("a"), kept)
    before = kept.read_bytes()
    with opened(room.home) as desk:
        assert submit(desk, 2, 3, 4) == [Ack, Ack, Ack]
    assert kept.read_bytes() == before
    agrees(room, rows(0, 1, 2, 3, 4, 5), [])


def test_a_folder_that_became_another_one_of_ours_waits(room: Room) -> None:
    own, moved = room.csv("b").parent, room.root / "moved"
    with opened(room.home) as desk:
        own.rename(moved)
        own.symlink_to("a")
        assert submit(desk, 4, 2) == [Error, Ack]
        assert submit(desk, 4) == [Error]
        assert "another output directory, a;" in str(desk.committer.outputs.trouble())
        own.unlink()
        moved.rename(own)
        desk.later()
        assert submit(desk, 4, 3) == [Ack, Ack]
    agrees(room, rows(0, 1, 2, 3, 4, 5), [])


def test_only_what_was_repaired_is_said_to_be(room: Room) -> None:
    folder = room.csv("a").parent
    folder.rename(room.root / "far")
    folder.symlink_to("far")
    (folder / MARKER).unlink()
    emptied_csv = room.csv("b")
    emptied_csv.write_bytes(b"")
    said = repaired_lines(repair(room.home))
    assert "repaired: b/final_results.csv" in said
    assert (folder / MARKER).exists() or f"repaired: a/{MARKER}" not in said
