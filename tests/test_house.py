"""The code about the code: floors, absences and sizes, as docs/ARCHITECTURE.md states them.

Reads the source with `ast`; a violation names file and line.  What is not here: style
(ruff), types (mypy), start-up (`test_start_up.py`), documentation (`test_documented.py`).
"""

from __future__ import annotations

import ast
import graphlib
import re
import statistics
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from source import OURS, SOURCES, TESTS, Function, Source, calling, importing, in_rooms, outside
from sqlqueue import errors

FLOORS = {
    "errors": 0, "disk": 0, "home": 0, "keys": 0, "visible": 0,
    "home_lock": 0, "holder": 0, "filesystems": 0, "whereabouts": 0, "logs": 0,
    "plan": 1, "protocol": 1, "lifecycle": 1,
    "store": 2, "experiments": 2, "unsubmitted": 2,
    "manager": 3, "worker": 3,
}  # fmt: skip
"""The floor of each room; every other file of the package is the command line, on top."""

TOP = 4
OPEN_FLOORS = (0, 1, TOP)
"""Where rooms of one floor may know each other; on the others they are strangers."""

# --- floors ---------------------------------------------------------------------------


def floor_of(room: str) -> int:
    return FLOORS.get(room, TOP)


def allowed(room: str, other: str) -> bool:
    """Whether a room may import from another."""
    if floor_of(room) == floor_of(other):
        return room == other or floor_of(room) in OPEN_FLOORS
    return floor_of(other) < floor_of(room)


@pytest.mark.parametrize("source", SOURCES, ids=str)
def test_imports_only_go_down(source: Source) -> None:
    wrong = [
        f"{source}:{each.line} (floor {floor_of(source.room)}) imports {each.module}"
        for each in source.imports()
        if each.module.startswith("sqlqueue.")
        if not allowed(source.room, each.module.split(".")[1])
    ]
    assert wrong == []


def test_imports_go_in_no_circle() -> None:
    names = {each.module for each in SOURCES}
    graph = {
        source.module: {
            found
            for each in source.imports()
            for found in (each.module, each.module.rpartition(".")[0])
            if not each.typing_only and found in names - {source.module, "sqlqueue"}
        }
        for source in SOURCES
    }
    graphlib.TopologicalSorter(graph).prepare()


def test_imports_are_absolute() -> None:
    relative = [
        f"{source}:{node.lineno}"
        for source in SOURCES
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert relative == []


def test_a_floor_is_named_only_for_what_exists() -> None:
    assert FLOORS.keys() <= {each.room for each in SOURCES}


# --- absences -------------------------------------------------------------------------

DOERS = ("os", "io", "pathlib", "time", "random", "secrets", "uuid", "socket", "ssl", "asyncio",
         "subprocess", "threading", "tempfile", "shutil", "signal", "logging", "sys")  # fmt: skip


def test_floor_1_touches_no_disk_clock_chance_or_network() -> None:
    pure = in_rooms("plan", "protocol", "lifecycle")
    assert importing(pure, *DOERS) == []
    assert calling(pure, r"open|print|input|.*\.(now|today|utcnow)") == []


def test_a_worker_never_opens_the_database() -> None:
    assert (
        importing(in_rooms("worker", "experiments"), "sqlqueue.store", "sqlalchemy", "sqlite3")
        == []
    )


def test_a_manager_never_imports_an_experiment() -> None:
    heavy = ("torch", "torchvision", "sklearn", "pandas", "numpy")
    assert importing(in_rooms("manager", "store"), "sqlqueue.experiments", *heavy) == []


def test_only_the_store_says_sql() -> None:
    """The manager begins and commits, so it knows a connection and what may become of it."""
    assert importing(outside("store", "manager"), "sqlalchemy", "sqlite3", "alembic") == []
    known = re.compile(r".* imports sqlalchemy\.(Connection|Engine|exc\.\w+)")
    used = importing(in_rooms("manager"), "sqlalchemy", "sqlite3", "alembic")
    assert [each for each in used if not known.fullmatch(each)] == []
    statement = re.compile(
        r"\s*(SELECT|INSERT|UPDATE|DELETE FROM|PRAGMA|CREATE|BEGIN|COMMIT)\b ?\w"
    )
    said = [
        f"{source}:{node.lineno} says {node.value[:30]!r}"
        for source in outside("store")
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if statement.match(node.value)
    ]
    assert said == []


def test_only_the_manager_says_asyncio() -> None:
    assert importing(outside("manager"), "asyncio", "uvloop") == []


def test_only_the_disk_makes_things_durable() -> None:
    """Results pass through `Disk` alone, so that a test can fail each of its calls."""
    careful = in_rooms("manager", "worker", "store", "unsubmitted")
    calls = r"os\.(fsync|fdatasync|sync|replace|rename|renames|link|ftruncate|truncate)"
    assert calling(careful, calls) == []
    assert calling(careful, r"shutil\.(copy.*|move)|.*\.(write_text|write_bytes|rename)") == []
    assert calling(in_rooms("manager", "store", "unsubmitted"), r"open|os\.(p?writev?)") == []


def test_the_clock_is_an_argument() -> None:
    """What decides about tasks is told the time: the service and the verbs of the store."""
    deciding = [
        each for each in in_rooms("store", "manager")
        if each.path.name in {"queue.py", "service.py"}
    ]  # fmt: skip
    assert calling(deciding, r"time\.(time|monotonic|perf_counter|sleep)|.*datetime.*\.now") == []


# --- sizes ----------------------------------------------------------------------------

MEDIAN_LINES = 10
NINETIETH_LINES = 30
LONGEST_LINES = 60
FILE_LINES = 300
LARGEST_BYTES = 500_000
LISTS = {"sqlqueue/protocol.py": 700}
"""Files that declare everything of one kind, one after the other, with their own limit."""


def body_lines(function: Function) -> int:
    """The lines of a function without its docstring."""
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (function.end_lineno or 0) - function.lineno + 1 - docstring


def test_functions_are_small() -> None:
    sizes = {
        f"{source}:{each.lineno} {each.name}": body_lines(each)
        for source in SOURCES
        for each in source.functions()
    }
    assert statistics.median(sizes.values()) <= MEDIAN_LINES
    assert statistics.quantiles(sizes.values(), n=10)[-1] <= NINETIETH_LINES
    assert {name: size for name, size in sizes.items() if size > LONGEST_LINES} == {}


@pytest.mark.parametrize("source", OURS, ids=str)
def test_a_file_is_small_and_says_what_it_is(source: Source) -> None:
    lines = len(source.text.splitlines())
    assert lines <= LISTS.get(str(source), FILE_LINES) or "versions" in source.path.parts
    assert not source.text.strip() or ast.get_docstring(source.tree), f"{source}: no header"


# --- the error tree -------------------------------------------------------------------


def tree_of(kind: type[errors.QueueError]) -> Iterator[type[errors.QueueError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from tree_of(each)


def test_each_error_has_a_code_of_its_own_and_a_default_message() -> None:
    kinds = [each for each in tree_of(errors.QueueError) if each.__module__ == errors.__name__]
    assert len({each.code for each in kinds}) == len(kinds)
    assert all("code" in vars(each) and each().message for each in kinds)


# --- nothing unfinished ---------------------------------------------------------------

MARKS = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "HA" + "CK", "NotImplemented" + "Error")))


@pytest.mark.parametrize("source", [*OURS, *TESTS], ids=str)
def test_nothing_is_left_unfinished(source: Source) -> None:
    found = [
        number for number, line in enumerate(source.text.splitlines(), 1) if MARKS.search(line)
    ]
    assert found == [], f"{source}: an unfinished mark on these lines"


def test_no_test_is_skipped_mocked_or_asleep() -> None:
    assert importing(TESTS, "unittest.mock", "mock") == []
    """But where a machine lacks what a test needs; on the one that decides, nothing is lacking."""
    skipping = calling(TESTS, r"pytest\.(skip|xfail|importorskip)")
    assert [each for each in skipping if not each.startswith("tests/needs.py:")] == []
    marks = [f"{each}: {mark}" for each in TESTS for mark in ("skip", "skipif", "xfail")
             if any(ast.unparse(node) == f"pytest.mark.{mark}" for node in ast.walk(each.tree)
                    if isinstance(node, ast.Attribute))]  # fmt: skip
    assert marks == []
    tests = [each for each in TESTS if each.path.name.startswith("test_")]
    assert calling(tests, r"(time\.)?sleep") == []


def test_nothing_large_is_kept_with_the_code() -> None:
    """What is downloaded, built or measured belongs elsewhere."""
    top = Path(__file__).parents[1]
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=top, capture_output=True, text=True, check=True
    )
    kept = [top / each for each in listed.stdout.split("\0") if each]
    assert Path(__file__) in kept
    large = [each for each in kept if each.exists() and each.stat().st_size > LARGEST_BYTES]
    assert large == []
