"""A hint for SQLite's planner, which knows nothing of how many rows meet a condition."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement


class Likely(FunctionElement[Any]):
    """A condition that most rows meet: a hint for SQLite's planner, itself for any other."""

    name = "likely"
    inherit_cache = True


@compiles(Likely)
def _plain(element: Likely, compiler: Any, **how: Any) -> str:
    return str(compiler.process(element.clauses, **how))


@compiles(Likely, "sqlite")
def _hinted(element: Likely, compiler: Any, **how: Any) -> str:
    return f"likely({compiler.process(element.clauses, **how)})"
