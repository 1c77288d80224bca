"""What people do to the files of a queue that goes on: a real manager and a real worker complete
tasks all the while, and nobody helps them.

No byte that a person wrote is lost, no row is missing, the other directory goes on.  What is not
here: the same at every disk call (`test_crash*.py`), the core alone (`test_recovery_hands.py`).
"""

from __future__ import annotations

import csv
import io
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from acceptance import SECONDS, Study
from crash_scenarios import Room
from needs import need
from test_recovery_hands import ALL_EDITS, by_rename

from support import wait_until

Edit = Callable[[Room], list[bytes]]

PACED = """
import time
from pathlib import Path

def paced(seed: int) -> dict:
    while int(Path("allowed").read_text() or 0) < seed:
        time.sleep(0.01)
    return {"value": seed, **({"late": seed} if seed > 20 else {})}
"""
AT_A_TIME = 3
"""Tasks that complete while a person is at it."""


def from_a_spreadsheet(room: Room) -> list[bytes]:
    """Byte order mark, semicolons, everything quoted, CRLF: another file takes the name."""
    text = io.StringIO()
    with room.csv("a").open(newline="", encoding="utf-8") as lines:
        writer = csv.writer(text, delimiter=";", quoting=csv.QUOTE_ALL)
        writer.writerows(csv.reader(lines))
    data = b"\xef\xbb\xbf" + text.getvalue().encode()
    by_rename(room.csv("a"), data)
    return [data]


def saved_in_place(room: Room) -> list[bytes]:
    data = room.csv("a").read_bytes().replace(b"\n", b"\r\n")
    room.csv("a").write_bytes(data)
    return [data]


def further_rows(room: Room) -> list[bytes]:
    row = b"p,p_999_999,0,999,of my own\n"
    with room.csv("a").open("ab") as file:
        file.write(row)
    return [row]


EDITS: tuple[Edit, ...] = (*ALL_EDITS, from_a_spreadsheet, saved_in_place, further_rows)


class Live:
    """A study whose manager and worker run; as many tasks complete as are allowed."""

    def __init__(self, study: Study, tasks: int) -> None:
        self.study = study
        self.room = Room(study.root)
        self.tasks = tasks
        self.done = 0
        self.texts: list[bytes] = []
        (study.root / "paced.py").write_text(PACED)
        self._allow(0)
        cells = [{"seed": list(range(1, tasks + 1))}]
        files = [self._sweep(name, cells) for name in "ab"]
        study.set_up(*files)
        study.manager.start()
        study.worker("--slots", "2")

    def _sweep(self, name: str, cells: list[dict[str, list[int]]]) -> str:
        made = self.study.write(f"{name}.yaml", name, "paced", "p", combinations=cells)
        path = self.study.root / made
        path.write_text(path.read_text().replace("trial:paced", "paced:paced"))
        return made

    def _allow(self, seed: int) -> None:
        by_rename(self.study.root / "allowed", str(seed).encode())

    def go_on(self, more: int = AT_A_TIME) -> None:
        """So many tasks more may complete; they do so whenever they like."""
        self.done += more
        self._allow(self.done)

    def go_on_in_vain(self) -> None:
        """The same while a directory cannot be written: nothing of it is acked."""
        before, said = self.completed(), self.warnings()
        self.go_on()
        wait_until(lambda: self.warnings() > said, SECONDS, "a warning of the manager's")
        assert self.completed() == before

    def warnings(self) -> int:
        return self.study.manager.said.count("it is tried again by itself")

    def caught_up(self) -> None:
        wait_until(self._all_acked, SECONDS, f"{self.done} acks")

    def _all_acked(self) -> bool:
        return self.completed() >= self.done

    def completed(self) -> int:
        found = self.study.manager.ask({"type": "status"})
        return int(found["status"]["totals"]["completed"])

    def does(self, edit: Edit) -> None:
        """A person who tries again what the manager was faster with."""
        for _ in range(20):
            with suppress(FileExistsError, FileNotFoundError, IsADirectoryError):
                self.texts += edit(self.room)
                return
        raise AssertionError(f"{edit.__name__} cannot be done")

    def end(self) -> None:
        """All tasks complete; then both are as they ought to be, and so is what was typed."""
        self._allow(self.tasks)
        assert self.study.worker_ends() == 0, self.study.said
        self.study.cli.ok("verify")
        assert self.study.manager.stop() == 0
        self.study.cli.ok("verify")
        for name in "ab":
            seeds = sorted(int(row["seed"]) for row in self.study.rows(name))
            assert seeds == list(range(1, self.tasks + 1)), name
        files = [path for path in self.study.root.rglob("*") if is_plain(path)]
        contents = [path.read_bytes() for path in files]
        lost = [text[:60] for text in self.texts if not any(text in each for each in contents)]
        assert not lost, f"lost what a person wrote: {lost}"


def is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def test_every_edit_of_a_csv_that_is_being_written(study: Study) -> None:
    live = Live(study, tasks=(len(EDITS) + 1) * AT_A_TIME)
    for edit in EDITS:
        live.go_on()
        live.does(edit)
        live.caught_up()
    live.end()
    assert study.attempts() == ["COMPLETED"] * live.tasks


@pytest.mark.slow
def test_a_directory_renamed_and_put_back_and_one_removed(study: Study) -> None:
    """What has a row there waits; what has none goes on; the removed one a command makes again."""
    live = Live(study, tasks=12)
    live.go_on()
    live.caught_up()
    away, a = study.root / "away", study.root / "a"
    a.rename(away)
    rows = (away / "final_results.csv").read_bytes()
    live.go_on_in_vain()
    assert (away / "final_results.csv").read_bytes() == rows
    away.rename(a)
    live.caught_up()
    shutil.rmtree(a)
    live.go_on_in_vain()
    assert not a.exists()
    study.cli.ok("verify", "--repair")
    live.caught_up()
    live.end()
    assert study.attempts() == ["COMPLETED"] * live.tasks


@pytest.fixture
def immutable(study: Study) -> Iterator[Path]:
    """A file's path: root's own hands are bound by its attribute, not by its mode."""
    need(os.geteuid() == 0 and shutil.which("chattr") is not None, "root and chattr")
    path = study.root / "a" / "final_results.csv"
    yield path
    subprocess.run(["chattr", "-i", path], capture_output=True, check=False)


@pytest.mark.slow
def test_a_csv_made_read_only_waits_until_it_may_be_written(study: Study, immutable: Path) -> None:
    live = Live(study, tasks=6)
    live.go_on()
    live.caught_up()
    done = subprocess.run(["chattr", "+i", immutable], capture_output=True, check=False)
    need(done.returncode == 0, "a filesystem whose files can be made immutable")
    rows = immutable.read_bytes()
    live.go_on_in_vain()
    subprocess.run(["chattr", "-i", immutable], check=True)
    live.end()
    assert immutable.read_bytes().startswith(rows)
