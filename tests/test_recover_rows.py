"""What `recover` makes of CSVs that are not as they were left: told by file and line, nothing
destroyed, and what a backup does not know yet taken from the CSVs.
"""

from __future__ import annotations

import codecs
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lost_queue import CSV, FOLDERS, Lost, in_memory, no_database, no_home
from small_disks import command, empty, fill, need_root, tmpfs, unmount

from sqlqueue.disk import Disk
from sqlqueue.errors import (
    DatabaseError,
    DirectoryError,
    ManagerRunning,
    StorageFailure,
    UsageError,
)
from sqlqueue.home_lock import HomeLock
from sqlqueue.initialise import initialise
from sqlqueue.plan.reading_back import Torn, cells, value
from sqlqueue.plan.rows import line
from sqlqueue.progress import shown
from sqlqueue.store import backup as backups


@pytest.fixture(scope="module")
def original() -> Iterator[Lost]:
    with in_memory() as folder:
        queue = Lost.made(folder / "queue", "rows_trial", seeds=4)
        queue.submit(0.6)
        yield queue


@pytest.fixture
def queue(original: Lost) -> Iterator[Lost]:
    with in_memory() as folder:
        yield original.copy(folder / "queue")


def back_up(queue: Lost, name: str = "backup.db") -> Path:
    file = queue.root / name
    backups.back_up(
        queue.home.database, file, force=False, disk=Disk(), advance=lambda _now, _all: None
    )
    return file


def kept(queue: Lost, text: bytes) -> bool:
    """Whether those bytes still stand in some file that is no CSV of ours."""
    files = [each for each in queue.root.rglob("*") if each.is_file() and each.name != CSV]
    return any(text in each.read_bytes() for each in files)


# --- one cell -------------------------------------------------------------------------------

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=30)
    | st.sampled_from(["1", "nan", "-0.0", "True", '"', '""', ",", " ", "1e5", "007", "-0", "١"])
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(SCALARS, min_size=2, max_size=6))
def test_what_is_read_back_writes_the_same_line(values: list[object]) -> None:
    data = line(values)
    assert line(map(value, cells(data))) == data


@pytest.mark.parametrize("data", [b"a,b", b'a,"b\n', b'a,b"c\n', b'"a"b,c\n', b"\xff\xfe,a\n"])
def test_what_is_no_line_is_torn(data: bytes) -> None:
    with pytest.raises(Torn):
        cells(data)


# --- a backup, and rows that are newer --------------------------------------------------------


def test_what_was_acked_after_the_backup_is_taken_from_the_csvs(queue: Lost) -> None:
    file = back_up(queue)
    newer = queue.submit(0.5, seed=3)
    before, tasks = queue.csvs(), queue.tasks()
    no_database(queue)
    found = queue.recover(backup=file)
    assert (found.adopted, found.strays, found.troubles) == (newer, 0, [])
    assert queue.csvs() == before
    assert queue.tasks() == tasks
    queue.clean()
    attempts = queue.query("SELECT count(*) FROM attempts WHERE worker_id = 'w'")
    assert attempts[0][0] > 0, "what the backup knows of attempts is kept"


def test_a_backup_may_be_named_from_where_one_stands(
    queue: Lost, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = queue.csvs()
    back_up(queue)
    no_database(queue)
    monkeypatch.chdir(queue.root)
    queue.recover(*queue.files, backup=Path("backup.db"))
    assert queue.csvs() == before
    queue.clean()


def test_an_old_copy_put_there_by_hand_is_brought_up_to_date(queue: Lost) -> None:
    file = back_up(queue)
    queue.submit(0.5, seed=3)
    before = queue.csvs()
    shutil.copy(file, queue.home.database)
    assert queue.recover().troubles == []
    assert queue.csvs() == before
    queue.clean()
    assert not list(queue.home.salvage.iterdir())


def test_a_backup_brings_its_queue_s_id_back(tmp_path: Path) -> None:
    queue = Lost.made(tmp_path / "queue", "own_trial", seeds=1)  # no copy: that gets its own id
    queue.submit(0.6)
    file, identity = back_up(queue), queue.home.queue_id()
    no_home(queue)
    for each in FOLDERS:
        (queue.root / each / ".sqlqueue.json").unlink()
    queue.recover(backup=file)
    assert queue.home.queue_id() == identity
    queue.clean()


def test_results_that_only_the_backup_has_get_their_rows(queue: Lost) -> None:
    before, file = queue.csvs(), back_up(queue)
    no_database(queue)
    queue.csv("three").unlink()
    found = queue.recover(backup=file)
    assert found.troubles == []
    assert queue.csvs() == before
    queue.clean()


def test_another_queue_s_backup_is_refused(queue: Lost) -> None:
    other = Lost.made(queue.root.parent / "other", "other_trial", seeds=1)
    file = back_up(other)
    before = queue.home.database.read_bytes()
    with pytest.raises(DatabaseError, match="is of queue"):
        queue.recover(backup=file)
    assert queue.home.database.read_bytes() == before


def test_a_damaged_backup_is_refused(queue: Lost) -> None:
    file = back_up(queue)
    file.write_bytes(file.read_bytes()[:-5000])
    before = queue.home.database.read_bytes()
    with pytest.raises(DatabaseError, match="cut short"):
        queue.recover(backup=file)
    assert queue.home.database.read_bytes() == before


# --- nothing to do, nothing to begin with ---------------------------------------------------


def test_a_good_database_stays(queue: Lost) -> None:
    before = queue.csvs(), queue.tasks()
    assert not queue.recover(*queue.files).replaced
    assert (queue.csvs(), queue.tasks()) == before
    assert not list(queue.home.path.glob("queue.db.set-aside*"))


def test_with_nothing_to_begin_with_it_says_what_it_needs(queue: Lost) -> None:
    no_database(queue)
    with pytest.raises(UsageError, match="name the sweep files, or a backup"):
        queue.recover()


def test_a_running_manager_is_left_alone(queue: Lost) -> None:
    with HomeLock(queue.home, "a manager"), pytest.raises(ManagerRunning):
        queue.recover(*queue.files)


def test_a_dry_run_writes_nothing_and_says_the_same(queue: Lost) -> None:
    no_home(queue)
    before = {each for each in queue.root.rglob("*") if "__pycache__" not in each.parts}
    dry = queue.recover(*queue.files, dry=True)
    assert {each for each in queue.root.rglob("*") if "__pycache__" not in each.parts} == before
    wet = queue.recover(*queue.files)
    same = ("rows", "adopted", "tasks", "results", "due", "strays", "troubles")
    assert [getattr(dry, each) for each in same] == [getattr(wet, each) for each in same]


# --- CSVs that are not as they were left ------------------------------------------------------


def edited(queue: Lost, edit: Callable[[list[bytes]], list[bytes]], folder: str = "two") -> bytes:
    """The CSV with its lines as `edit` leaves them."""
    file = queue.csv(folder)
    data = b"".join(edit(file.read_bytes().splitlines(keepends=True)))
    file.write_bytes(data)
    return data


def other_value(lines: list[bytes]) -> list[bytes]:
    """The first row says another `value` (of metrics, it is the one that all have)."""
    column = lines[0].rstrip(b"\n").split(b",").index(b"value")
    parts = cells(lines[1])
    parts[column] = "12345.5"
    return [lines[0], line(parts), *lines[2:]]


def other_parameter(lines: list[bytes]) -> list[bytes]:
    parts = cells(lines[1])
    parts[lines[0].split(b",").index(b"width")] = "99.0"
    return [lines[0], line(parts), *lines[2:]]


def a_torn_end(lines: list[bytes]) -> list[bytes]:
    return [*lines[:-1], lines[-1][:10]]


def a_row_twice(lines: list[bytes]) -> list[bytes]:
    return [*lines, lines[1]]


def a_remark(lines: list[bytes]) -> list[bytes]:
    return [*lines[:2], b"these two are odd\n", *lines[2:]]


EDITS = {
    other_parameter: "two/final_results.csv:2: column width is '99.0', while results one/",
    a_torn_end: "is cut short: it has no line end",
    a_row_twice: "is a second row of the task of line 2",
    a_remark: "two/final_results.csv:3: has 1 cells, expected",
}


@pytest.mark.parametrize("edit", EDITS, ids=lambda each: each.__name__)
def test_what_cannot_be_adopted_is_told_and_kept(
    queue: Lost, edit: Callable[[list[bytes]], list[bytes]]
) -> None:
    rows = {folder: len(data.splitlines()) for folder, data in queue.csvs().items()}
    no_database(queue)
    data = edited(queue, edit)
    (told, *_) = queue.recover(*queue.files).troubles
    assert EDITS[edit] in told
    queue.clean()
    assert kept(queue, data) or kept(queue, data.splitlines()[-1])
    others = {folder: len(data.splitlines()) for folder, data in queue.csvs().items()}
    assert all(others[each] == rows[each] for each in FOLDERS if each != "two")


def test_a_parameter_that_is_not_the_task_s_is_told(queue: Lost) -> None:
    """Of a task that no other CSV has."""
    no_database(queue)
    queue.csv("results one/é").unlink()
    data = edited(queue, other_parameter)
    (told,) = queue.recover(*queue.files).troubles
    assert "column width is '99.0', while its task has '4.0'" in told
    assert kept(queue, data)
    queue.clean()


def test_sorted_rows_are_adopted_in_the_order_in_which_they_stand(queue: Lost) -> None:
    no_database(queue)
    data = edited(queue, lambda lines: [lines[0], *sorted(lines[1:])])
    assert queue.recover(*queue.files).troubles == []
    assert queue.csvs()["two"] == data
    queue.clean()


def test_of_rows_that_contradict_each_other_the_first_holds_and_both_are_told(queue: Lost) -> None:
    no_database(queue)
    first = queue.csv("results one/é").read_bytes()
    ours = {cells(each)[2] for each in first.splitlines(keepends=True)[1:]}

    def shared(lines: list[bytes]) -> list[bytes]:
        """The same, of a row that the other directory has too."""
        rows = sorted(lines[1:], key=lambda each: cells(each)[2] not in ours)
        assert cells(rows[0])[2] in ours
        return other_value([lines[0], *rows])

    data = edited(queue, shared)
    (told,) = queue.recover(*queue.files).troubles
    assert "two/final_results.csv:2: column value is '12345.5', while results one/é/" in told
    assert kept(queue, data)
    assert queue.csvs()["results one/é"] == first
    queue.clean()


def test_rows_that_no_sweep_file_wants_stay_and_are_known_again_later(queue: Lost) -> None:
    before, done = queue.csvs(), sum(state == "COMPLETED" for _, _, state in queue.tasks())
    no_home(queue)
    one = queue.root / "one.yaml"
    text = one.read_text()
    one.write_text(text.replace("seed: [0, 1, 2, 3]", "seed: [3]"))
    found = queue.recover(*queue.files)
    assert found.strays > 0
    assert found.troubles == []
    assert queue.csvs() == before
    queue.clean()
    one.write_text(text)
    assert queue.init().total.completed >= done
    assert queue.csvs() == before
    queue.clean()


def test_a_deleted_csv_gets_the_rows_that_others_have(queue: Lost) -> None:
    before = queue.csvs()["two"]
    no_database(queue)
    queue.csv("two").unlink()
    queue.recover(*queue.files)
    shared = queue.csvs()["two"].splitlines()[1:]
    assert 0 < len(shared) < len(before.splitlines())
    assert {each.split(b",")[2] for each in shared} < {
        each.split(b",")[2] for each in before.splitlines()
    }
    queue.clean()


def test_a_link_in_place_of_a_csv_is_not_followed(queue: Lost) -> None:
    elsewhere = queue.root / "elsewhere.csv"
    shutil.copy(queue.csv("two"), elsewhere)
    before = elsewhere.read_bytes()
    queue.csv("two").unlink()
    queue.csv("two").symlink_to(elsewhere)
    no_database(queue)
    assert any("not an ordinary file" in each for each in queue.recover(*queue.files).troubles)
    assert elsewhere.read_bytes() == before
    queue.clean()


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8], ids=["plain", "with a mark"])
def test_rows_that_a_spreadsheet_saved_are_adopted(queue: Lost, mark: bytes) -> None:
    """Its file is kept, and ours is there again."""
    before, results = queue.csvs(), queue.query("SELECT count(*) FROM results")
    saved = mark + before["two"].replace(b"\n", b"\r\n")
    no_database(queue)
    queue.csv("two").write_bytes(saved)
    assert queue.recover(*queue.files).troubles == []
    assert queue.csvs() == before
    assert queue.query("SELECT count(*) FROM results") == results
    assert kept(queue, saved)
    queue.clean()


def test_a_csv_that_the_disk_does_not_give_stops_it(queue: Lost) -> None:
    """Its rows would be missing in the new database, and the file be moved aside for it."""
    before = queue.csvs()
    no_database(queue)
    with unreadable(queue.csv("two")), pytest.raises(DirectoryError) as refused:
        queue.recover(*queue.files)
    assert refused.value.message == (
        f"{queue.csv('two')}: cannot be read: Input/output error; make it readable, or move it away"
    )
    assert queue.csvs() == before
    assert not queue.home.database.exists()
    queue.recover(*queue.files)
    assert queue.csvs() == before
    queue.clean()


@contextmanager
def unreadable(file: Path) -> Iterator[None]:
    """Inside, every read of the file is a real EIO: what is mounted over it has no first byte."""
    need_root("to mount something over a file")
    command("mount", "--bind", f"/proc/{os.getpid()}/mem", file)
    try:
        yield
    finally:
        unmount(file)


@pytest.mark.slow
def test_on_a_full_disk_it_says_so_and_changes_nothing(original: Lost, tmp_path: Path) -> None:
    need_root("to mount a small filesystem")
    with tmpfs(tmp_path / "small", "8m") as small:
        queue = original.copy(small / "queue")
        before = queue.csvs()
        no_database(queue)
        fill(small)
        with pytest.raises(StorageFailure, match="make room") as refused:
            queue.recover(*queue.files)
        assert "disk is full" in refused.value.message
        assert not queue.home.database.exists()
        empty(small)
        queue.recover(*queue.files)
        assert queue.csvs() == before
        queue.clean()


def test_a_person_s_csv_stops_it_and_is_left(queue: Lost) -> None:
    no_home(queue)
    (queue.root / "mine").mkdir()
    (queue.root / "mine" / CSV).write_text("years of work\n")
    more = queue.root / "more.yaml"
    more.write_text(queue.files[0].read_text().replace('"results one/é"', "mine"))
    with pytest.raises(DirectoryError, match="sqlqueue did not write"):
        queue.recover(*queue.files, more)
    assert (queue.root / "mine" / CSV).read_text() == "years of work\n"
    assert not queue.home.database.exists()


def test_in_a_copy_a_folder_of_the_original_s_stops_it(tmp_path: Path) -> None:
    """Before anything is replaced, and in a dry run; without that file it goes on."""
    with in_memory() as folder:
        made = Lost.made(folder / "original", "copied_trial", seeds=1)
        outside = made.root / "outside.yaml"
        text = made.files[0].read_text().replace("results one/é", str(tmp_path / "outside"))
        outside.write_text(text)
        initialise(made.home, [outside], lambda _: None, shown)
        made.submit()
        copy = made.copy(folder / "copy")
        for dry in (True, False):
            with pytest.raises(DirectoryError, match=f"of {made.home.path}, of which this is a"):
                copy.recover(*copy.files, copy.root / "outside.yaml", dry=dry)
        copy.recover(*copy.files)
        for each in (copy, made):
            each.clean()


def test_directories_of_two_queues_stop_it(queue: Lost) -> None:
    no_home(queue)
    (queue.root / "two" / ".sqlqueue.json").write_text('{"format": 1, "queue": "another"}')
    with pytest.raises(DirectoryError, match="belongs to queue another"):
        queue.recover(*queue.files)
    assert not queue.home.path.exists()
