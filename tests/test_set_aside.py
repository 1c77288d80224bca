"""Setting a file aside while somebody else puts things under its name: nobody's bytes are lost.

What is not here: deaths, failures and losses of power in between (`test_crash*.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from crash_proof import Workshop, agrees, workshop
from crash_scenarios import MAIN, by_rename, opened, rows, submit

from sqlqueue.disk import Disk
from sqlqueue.protocol import Ack


@dataclass
class Hurried(Disk):
    """Somebody acts when the file has both names, so often."""

    act: Callable[[], None]
    times: int = 1
    acting: bool = False

    def set_aside(self, source: Path, target: Path) -> None:
        self.acting, before = self.times > 0, self.acting
        super().set_aside(source, target)
        self.acting = before

    def fsync_dir(self, path: Path) -> None:
        super().fsync_dir(path)
        if self.acting:
            self.acting, self.times = False, self.times - 1
            self.act()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


def contents(folder: Path) -> list[bytes]:
    return sorted(each.read_bytes() for each in folder.rglob("*") if each.is_file())


def test_only_the_name_changes_and_nothing_is_replaced(file: Path) -> None:
    target = file.with_name("aside")
    Disk().set_aside(file, target)
    assert [each.name for each in file.parent.iterdir()] == ["aside"]
    file.write_bytes(b"new")
    with pytest.raises(FileExistsError):
        Disk().set_aside(file, target)
    assert (file.read_bytes(), target.read_bytes()) == (b"new", b"old")


def test_another_file_that_got_the_name_meanwhile_keeps_it(file: Path) -> None:
    target = file.with_name("aside")
    Hurried(lambda: by_rename(file, b"another")).set_aside(file, target)
    assert (file.read_bytes(), target.read_bytes()) == (b"another", b"old")
    assert contents(file.parent) == [b"another", b"old"]


def test_and_the_next_one_too(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot have the name back lies beside it."""
    target, looked = file.with_name("aside"), os.path.samestat

    def a_third(one: os.stat_result, other: os.stat_result) -> bool:
        by_rename(file, b"a third")
        return looked(one, other)

    monkeypatch.setattr(os.path, "samestat", a_third)
    Hurried(lambda: by_rename(file, b"another")).set_aside(file, target)
    assert (file.read_bytes(), target.read_bytes()) == (b"a third", b"old")
    assert contents(file.parent) == [b"a third", b"another", b"old"]


def test_a_folder_or_a_link_or_nothing_at_all(file: Path) -> None:
    target, folder = file.with_name("aside"), file.with_name("a folder")
    (folder / "in it").mkdir(parents=True)

    def a_folder() -> None:
        file.unlink()
        folder.rename(file)

    Hurried(a_folder).set_aside(file, target)
    assert (file / "in it").is_dir()
    Disk().set_aside(file, folder)
    file.symlink_to("nowhere")
    Hurried(file.unlink).set_aside(file, file.with_name("a link"))
    assert {each.name for each in file.parent.iterdir()} == {"aside", "a folder", "a link"}


@pytest.fixture(scope="module")
def shop() -> Iterator[Workshop]:
    with workshop() as made:
        yield made


def test_a_person_who_saves_again_while_their_csv_is_moved_aside(shop: Workshop) -> None:
    room = shop.room(MAIN[2])[0]
    by_rename(room.csv("a"), b"saved once")
    disk = Hurried(lambda: by_rename(room.csv("a"), b"saved twice"))
    with opened(room.home, disk) as desk:
        desk.later()
        assert submit(desk, 2, 3) == [Ack, Ack]
    assert disk.times == 0
    agrees(room, rows(0, 1, 2, 3, 5), [b"saved once", b"saved twice"])
