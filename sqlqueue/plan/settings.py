"""The keys that steer and are not parameters: checked and turned into settings.

`priority` an integer; `max_attempts` an integer from 1 to 1000; `timeout` seconds, `H:MM:SS` or
`1h30m` (null: none).  `project_name` is accepted and means nothing here.
What is not here: `output_dir` (`template.py`) and `experiment` (`bind.py`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlqueue.lifecycle import MAX_ATTEMPTS
from sqlqueue.plan.blocks import Given
from sqlqueue.plan.problems import Problems, describe
from sqlqueue.plan.task import Parameter
from sqlqueue.plan.tree import Scalar
from sqlqueue.plan.values import Mismatch, bring

_LARGEST: Final = 2**53
_PRIORITY: Final = Parameter("priority", "int", minimum=-_LARGEST, maximum=_LARGEST)
_ATTEMPTS: Final = Parameter("max_attempts", "int", minimum=1, maximum=1000)
_CLOCK: Final = re.compile(r"([0-9]{1,5}):([0-5][0-9]):([0-5][0-9])")
_UNITS: Final = re.compile(
    "(?=[0-9])" + " ?".join(rf"(?:([0-9]{{1,9}}){unit})?" for unit in "dhms")
)
DURATION: Final = "seconds above 0, or a text like 3:50:00 or 1h30m"


@dataclass(frozen=True, slots=True)
class Settings:
    """How the tasks of a phase are to be treated."""

    priority: int = 0
    max_attempts: int = MAX_ATTEMPTS
    timeout_seconds: float | None = None


def read(given: Mapping[str, Given], problems: Problems) -> Settings:
    """Settings from the steering keys that a phase ended up with."""
    project = given.get("project_name")
    if project and not isinstance(project.tree, Scalar):
        problems.add(project.place, "found more than one value, expected one name")
    return Settings(
        priority=_integer(given.get("priority"), _PRIORITY, 0, problems),
        max_attempts=_integer(given.get("max_attempts"), _ATTEMPTS, MAX_ATTEMPTS, problems),
        timeout_seconds=_timeout(given.get("timeout"), problems),
    )


def _integer(given: Given | None, parameter: Parameter, default: int, problems: Problems) -> int:
    if given is None:
        return default
    try:
        return int(bring(parameter, given.scalar(problems)))
    except Mismatch as mismatch:
        problems.add(given.place, str(mismatch))
        return default


def _timeout(given: Given | None, problems: Problems) -> float | None:
    if given is None or (value := given.scalar(problems)) is None:
        return None
    seconds = seconds_of(value)
    if seconds is None:
        problems.add(given.place, f"found {describe(value)}, expected {DURATION}")
    return seconds


def seconds_of(value: Any) -> float | None:
    """The duration in seconds; None when `value` is no duration."""
    if isinstance(value, str):
        value = _spelled(value.strip())
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value < _LARGEST and math.isfinite(value) else None


def _spelled(text: str) -> Any:
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = map(int, clock.groups())
        return hours * 3600 + minutes * 60 + seconds
    if units := _UNITS.fullmatch(text):
        days, hours, minutes, seconds = (int(each or 0) for each in units.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    return text
