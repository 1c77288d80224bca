"""The repository's own source as tests read it: files, imports, calls, functions.

What is not here: any rule about them (`test_house.py`, `test_documented.py`).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent
PACKAGE = REPOSITORY / "sqlqueue"

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Import:
    """One module imported, as `sqlqueue.plan.task` or `torch.nn`, and where."""

    module: str
    line: int
    typing_only: bool
    """Not there when the program runs."""


@dataclass(frozen=True)
class Source:
    """One file of the package."""

    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(REPOSITORY))

    @property
    def room(self) -> str:
        """The part of the house: `errors`, `plan`, `manager`, ..."""
        return self.path.relative_to(PACKAGE).parts[0].removesuffix(".py")

    @property
    def module(self) -> str:
        """Its dotted name, a package by its folder's."""
        parts = self.path.relative_to(REPOSITORY).with_suffix("").parts
        return ".".join(parts).removesuffix(".__init__")

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    def imports(self) -> Iterator[Import]:
        """Every import, those within functions included."""
        typing_only = set(self._typing_only())
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                inside = f"{node.module}." if isinstance(node, ast.ImportFrom) else ""
                for each in node.names:
                    yield Import(inside + each.name, node.lineno, node.lineno in typing_only)

    def _typing_only(self) -> Iterator[int]:
        """The lines below `if TYPE_CHECKING`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
                yield from range(node.lineno, (node.body[-1].end_lineno or 0) + 1)

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        """Every call, with what is called as it is written: `os.fsync`, `open`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield ast.unparse(node.func), node

    def functions(self) -> Iterator[Function]:
        for node in ast.walk(self.tree):
            if isinstance(node, Function):
                yield node


def sources(*folders: str) -> list[Source]:
    """The Python files below these folders of the repository."""
    paths = (path for folder in folders for path in (REPOSITORY / folder).rglob("*.py"))
    return [Source(path) for path in sorted(paths)]


SOURCES = sources("sqlqueue")
OURS = [*SOURCES, *sources("tools", "benchmarks", "migrations")]
TESTS = sources("tests")


def in_rooms(*rooms: str) -> list[Source]:
    """The sources of these rooms; a room that is gone fails the test that names it."""
    found = [each for each in SOURCES if each.room in rooms]
    assert {each.room for each in found} == set(rooms)
    return found


def outside(*rooms: str) -> list[Source]:
    return [each for each in SOURCES if each.room not in rooms]


def importing(these: Iterable[Source], *modules: str) -> list[str]:
    """Where one of these modules, or a part of it, is imported when the program runs."""
    return [
        f"{source}:{each.line} imports {each.module}"
        for source in these
        for each in source.imports()
        if not each.typing_only
        if any(f"{each.module}.".startswith(f"{module}.") for module in modules)
    ]


def calling(these: Iterable[Source], pattern: str) -> list[str]:
    """Where something is called whose written name matches the whole pattern."""
    return [
        f"{source}:{call.lineno} calls {name}"
        for source in these
        for name, call in source.calls()
        if re.fullmatch(pattern, name)
    ]
