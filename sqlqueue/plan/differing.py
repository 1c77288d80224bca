"""Two results for one task, metric by metric.

Pure.  Values are one as they are in a CSV (`rows.same`): 1 is 1.0, NaN is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sqlqueue.plan.rows import same


def differences(accepted: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The metrics that differ: `accepted` and `other` (None: not measured), and by how much."""
    found: dict[str, dict[str, Any]] = {}
    for name in dict.fromkeys((*accepted, *other)):
        left, right = accepted.get(name), other.get(name)
        if (name in accepted) != (name in other) or not same(left, right):
            found[name] = {"accepted": left, "other": right, "difference": _difference(left, right)}
    return found


def _difference(left: Any, right: Any) -> float | None:
    """Of two finite numbers, that of the other from the accepted one."""
    if not _is_number(left) or not _is_number(right):
        return None
    try:
        found = float(right) - float(left)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
