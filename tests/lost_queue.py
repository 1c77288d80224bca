"""A queue with overlapping sweep files and results whose values are awkward, about to lose
its database.  What is not here: what becomes of it, tests.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from crash_proof import MEMORY

from sqlqueue.home import NAME, Home
from sqlqueue.initialise import Added, initialise
from sqlqueue.manager.committer import Committer, Job
from sqlqueue.progress import shown
from sqlqueue.protocol import Ack, SubmitResult
from sqlqueue.recovering import Recovered, Wish, recover
from sqlqueue.store.audit import verify
from support import texts

CSV: Final = "final_results.csv"
PROGRAM: Final = """
def measure(seed: int, width: float = 4.0, note: str = "plain", flag: bool = False, **more):
    return {"score": seed * width}
"""
AWKWARD: Final[list[dict[str, Any]]] = [
    {"loss": float("nan"), "big": float("inf"), "low": float("-inf")},
    {"zero": -0.0, "tiny": 1e-320, "third": 1 / 3},
    {"huge": 10**300, "long": int("9" * 4200), "less": -(2**70)},
    {"text": 'a, "b", c', "lines": "one\ntwo\r\n\x00three\u2028", "tail": " spaced "},
    {"unicode": "naïve – 数据 🙂", "accent": "e\u0301"},
    {"list": [1, "a,b", None, 2.5], "nested": {"a": {"b": 1}, "c": []}},
    {"empty": "", "nothing": None, "one": "1", "nan": "nan", "true": True, "false": "False"},
    {"l\nm": 1, "l\\nm": 2, "": 3},
    {"padded": "007", "plus": "+1", "exp": "1E5", "dotted": "1.", "quoted": '"'},
    {"phase": "mine", "task_id": 5, "seed": -1},
    {},
]
SWEEPS: Final = {
    "one.yaml": """
defaults: {experiment: "PROGRAM:measure", output_dir: "results one/é"}
first: {combinations: [{seed: SEEDS}, {width: [1, 4, 0.5]}, {note: ["a, b", 'say "x"']}]}
""",
    "two.yaml": """
defaults: {experiment: "PROGRAM:measure", output_dir: two}
second: {combinations: [{seed: SEEDS}, {width: [4, 8]}, {note: ["a, b", "plain"]}]}
""",
    "three.yaml": """
defaults: {experiment: "PROGRAM:measure", output_dir: three}
third: {combinations: [{seed: SEEDS}, {width: [1, 8]}, {extra: [1, 2.5, "x"]}, {flag: true}]}
second: {combinations: [{seed: SEEDS}, {width: 0.5}, {note: "a, b"}]}
""",
}
FOLDERS: Final = ("results one/é", "two", "three")


@dataclass(frozen=True)
class Lost:
    """The queue in a folder.  `program`: the name of its experiment's module, one of its own."""

    root: Path
    program: str

    @property
    def home(self) -> Home:
        return Home(self.root / NAME)

    @property
    def files(self) -> list[Path]:
        return [self.root / name for name in SWEEPS]

    @classmethod
    def made(cls, root: Path, program: str, seeds: int = 5) -> Lost:
        """With its cells, nothing done."""
        root.mkdir(parents=True, exist_ok=True)
        (root / f"{program}.py").write_text(PROGRAM)
        for name, text in SWEEPS.items():
            filled = text.replace("SEEDS", str(list(range(seeds)))).replace("PROGRAM", program)
            (root / name).write_text(filled)
        queue = cls(root, program)
        queue.init()
        return queue

    def copy(self, root: Path) -> Lost:
        shutil.copytree(self.root, root, symlinks=True)
        return Lost(root, self.program)

    def init(self) -> Added:
        return initialise(self.home, self.files, lambda _: None, shown)

    def submit(self, share: float = 1.0, seed: int = 0) -> int:
        """The results of a share of the cells that have none; how many."""
        waiting = self.query("SELECT signature, task_id FROM tasks WHERE state = 'PENDING'")
        taken = waiting[: round(len(waiting) * share)]
        with self.committer() as committer:
            for at in range(0, len(taken), 100):
                jobs = [
                    Job(result(each, number + seed), "worker")
                    for number, each in enumerate(taken[at : at + 100], at)
                ]
                assert all(type(reply) is Ack for _, reply in committer.process(jobs))
        return len(taken)

    @contextmanager
    def committer(self) -> Iterator[Committer]:
        committer = Committer(self.home)
        committer.open()
        try:
            yield committer
        finally:
            committer.close()

    def csvs(self) -> dict[str, bytes]:
        files = {folder: self.root / folder / CSV for folder in FOLDERS}
        return {folder: file.read_bytes() for folder, file in files.items() if file.exists()}

    def csv(self, folder: str = "two") -> Path:
        return self.root / folder / CSV

    def query(self, text: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.home.database}?mode=ro", uri=True)) as base:
            return base.execute(text).fetchall()

    def tasks(self) -> list[tuple[Any, ...]]:
        return self.query("SELECT signature, task_id, state FROM tasks ORDER BY signature")

    def recover(self, *files: Path, backup: Path | None = None, dry: bool = False) -> Recovered:
        wish = Wish(list(files), backup, dry)
        return recover(self.home, wish, lambda total, _what: shown(0 * total))

    def clean(self) -> None:
        found = list(verify(self.home))
        assert not found, texts(found)


def result(task: tuple[Any, ...], number: int) -> SubmitResult:
    metrics = AWKWARD[number % len(AWKWARD)] | {"value": number / 7}
    if number > 20:  # a column that comes late
        metrics["late"] = f"{number}"
    return SubmitResult(
        task_id=task[1], worker_id="w", signature=task[0], result_data=metrics, seconds=1.0
    )


@contextmanager
def in_memory() -> Iterator[Path]:
    """A folder on a filesystem in memory, where there is one: real calls, without the waiting."""
    base = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=base, prefix="sqlqueue-") as folder:
        yield Path(folder)


Loss = Callable[[Lost], None]


def no_home(queue: Lost) -> None:
    shutil.rmtree(queue.home.path)


def no_database(queue: Lost) -> None:
    queue.home.database.unlink()


def no_identity(queue: Lost) -> None:
    """The database and the file that says which queue it was."""
    queue.home.database.unlink()
    queue.home.identity_file.unlink()


def empty(queue: Lost) -> None:
    queue.home.database.write_bytes(b"")


def garbage(queue: Lost) -> None:
    queue.home.database.write_bytes(b"not a database at all" * 1000)


def cut_short(queue: Lost) -> None:
    data = queue.home.database.read_bytes()
    queue.home.database.write_bytes(data[: len(data) // 2])


def torn_page(queue: Lost) -> None:
    """A page of garbage in the middle of the table of tasks."""
    ((page,),) = queue.query("SELECT rootpage FROM sqlite_schema WHERE name = 'tasks'")
    with queue.home.database.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xaa" * 4096)


def torn_index(queue: Lost) -> None:
    ((page,),) = queue.query(
        "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_tasks_1'"
    )
    with queue.home.database.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xaa" * 4096)


def foreign(queue: Lost) -> None:
    queue.home.database.unlink()
    with closing(sqlite3.connect(queue.home.database)) as base:
        base.execute("CREATE TABLE recipes (name TEXT)")


def a_folder(queue: Lost) -> None:
    queue.home.database.unlink()
    queue.home.database.mkdir()
    (queue.home.database / "notes").write_text("mine")


def a_dangling_link(queue: Lost) -> None:
    queue.home.database.unlink()
    queue.home.database.symlink_to(queue.root / "unmounted" / "queue.db")


LOSSES: Final[list[Loss]] = [
    no_home, no_database, no_identity, empty, garbage, cut_short, torn_page, torn_index, foreign,
    a_folder, a_dangling_link,
]  # fmt: skip

# --- a log that belongs to another state, or to another queue -----------------------------


def log_of(queue: Lost, room: Path) -> Path:
    """The log of a copy of the queue, as a manager leaves it that is killed."""
    copy = queue.copy(room)
    with closing(sqlite3.connect(copy.home.database)) as base:
        base.execute("PRAGMA journal_mode = WAL")
        base.execute("UPDATE tasks SET cost = cost + 1")
        base.commit()
        log = room / "left-wal"
        shutil.copy(copy.home.database.with_name("queue.db-wal"), log)
    return log


def cut_short_below_its_log(queue: Lost) -> None:
    """Killed while a log was there, and then the database lost its end."""
    log = log_of(queue, queue.root.parent / "other")
    cut_short(queue)
    shutil.copy(log, queue.home.database.with_name("queue.db-wal"))


def anothers_log(queue: Lost) -> None:
    other = Lost.made(queue.root.parent / "another", "another_trial", seeds=30)
    log = log_of(other, queue.root.parent / "third")
    shutil.copy(log, queue.home.database.with_name("queue.db-wal"))


def another_queue_s(queue: Lost) -> None:
    other = Lost.made(queue.root.parent / "another", "another_trial", seeds=2)
    shutil.copy(other.home.database, queue.home.database)


def missing_beside_its_log(queue: Lost) -> None:
    log = log_of(queue, queue.root.parent / "other")
    queue.home.database.unlink()
    shutil.copy(log, queue.home.database.with_name("queue.db-wal"))


LOGS: Final[list[Loss]] = [
    cut_short_below_its_log, anothers_log, another_queue_s, missing_beside_its_log,
]  # fmt: skip
