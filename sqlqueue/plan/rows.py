"""From what an experiment returned to one line of a CSV.

Pure.  Whatever was measured is kept: nested keys become dotted, lists JSON text, a metric
that bears the name of a parameter (or of one of our own columns) and another value becomes
`<name>_returned`.  One row is one line: line breaks in a value are written as escapes.
Floats are written by `repr`, which round-trips exactly; `nan`, `inf` and nothing at all are
three different texts.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

Scalar = str | int | float | bool | None

_BREAKS = re.compile("[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]")
_PLAIN = frozenset({int, float, bool, str, type(None)})
_PLAIN_NAME = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_NUMBERS = frozenset({int, float, bool})
_QUOTED = re.compile('[,"]|^ | $')
_SHORT: Final = 100
"""Texts up to so many characters are remembered."""


def flatten(result_data: Mapping[str, Any]) -> dict[str, Scalar]:
    """The metrics under their column names, in the order in which they came."""
    metrics: dict[str, Scalar] = {}
    for name, value in result_data.items():
        if type(value) not in _PLAIN or _PLAIN_NAME.fullmatch(name) is None:
            return _flattened(result_data)
        metrics[name] = value
    return metrics


def _flattened(result_data: Mapping[str, Any]) -> dict[str, Scalar]:
    metrics: dict[str, Scalar] = {}
    for name, value in _leaves(result_data, ""):
        column = _remembered_column(name) if len(name) <= _SHORT else _column(name)
        metrics[_free_name(column or "unnamed", metrics)] = value
    return metrics


def _column(name: str) -> str:
    """The name as it stands in a header, so that two names that look alike there are told apart."""
    return cell(name).encode("utf-8", "backslashreplace").decode("utf-8")


_remembered_column = lru_cache(maxsize=4096)(_column)


def _leaves(data: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Scalar]]:
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{name}.")
        else:
            yield name, _scalar(value)


def _scalar(value: Any) -> Scalar:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return json.dumps(value, ensure_ascii=False)


def _free_name(name: str, taken: Mapping[str, Any]) -> str:
    """`name`, or the first of `name_2`, `name_3`, ... that is free: nothing is dropped."""
    if name not in taken:
        return name
    number = 2
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"


def apart_from(
    metrics: Mapping[str, Scalar], fixed: Mapping[str, Any]
) -> tuple[dict[str, Scalar], dict[str, str]]:
    """Keeps metrics apart from the columns in `fixed` (parameters and our own).

    A metric that repeats a fixed value is left out, one that contradicts it is renamed.
    Returns the metrics for the row, and the new names by the old ones.
    """
    kept: dict[str, Scalar] = {}
    renamed: dict[str, str] = {}
    for name, value in metrics.items():
        if name not in fixed:
            kept[_free_name(name, kept)] = value
        elif not same(value, fixed[name]):
            taken = {**fixed, **metrics, **kept}
            renamed[name] = _free_name(f"{name}_returned", taken)
            kept[renamed[name]] = value
    return kept, renamed


def same(left: Any, right: Any) -> bool:
    """Whether two values are one in a CSV: 1 is 1.0, NaN is NaN, True is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    return bool(left == right) or cell(left) == cell(right)


def cell(value: Any) -> str:
    """The text of one value, not yet quoted."""
    if value is None:
        return ""
    if isinstance(value, str):
        return _BREAKS.sub(_escape, value)
    if isinstance(value, bool | int | float):
        return repr(value)
    return _BREAKS.sub(_escape, json.dumps(value, ensure_ascii=False))


def _escape(found: re.Match[str]) -> str:
    return found.group().encode("unicode_escape").decode("ascii")


def line(values: Iterable[Any]) -> bytes:
    """One row, quoted where needed, with its line end."""
    texts = [repr(each) if type(each) in _NUMBERS else _quoted(each) for each in values]
    if len(texts) == 1 and not texts[0]:
        return b'""\n'
    return (",".join(texts) + "\n").encode("utf-8", "backslashreplace")


def _quoted(value: Any) -> str:
    """One value that is no number as it stands in a line."""
    if type(value) is str and len(value) <= _SHORT:
        return _remembered(value)
    return _quote(cell(value))


@lru_cache(maxsize=4096)
def _remembered(text: str) -> str:
    """Most texts stand in row after row."""
    return _quote(cell(text))


def _quote(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if _QUOTED.search(text) else text


def row(columns: Sequence[str], values: Mapping[str, Any]) -> bytes:
    """The line of one task in a CSV with these columns; absent values are empty."""
    return line(map(values.get, columns))


def widened(columns: Sequence[str], names: Iterable[str]) -> list[str]:
    """The columns with those names that are not among them yet appended on the right."""
    wide = list(columns)
    seen = set(wide)
    for name in names:
        if name not in seen:
            seen.add(name)
            wide.append(name)
    return wide
