"""Whether completed cells come from other code than what would run today.

Asked of an experiment only where there are results to compare; where it cannot be told, nothing is
said.  What is not here: what a version is (`plan/version.py`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from sqlqueue.added import Code
from sqlqueue.errors import ExperimentError
from sqlqueue.experiments import BUILT_IN, files
from sqlqueue.figures import thousands
from sqlqueue.plan.command import Command
from sqlqueue.worker import code

MOST_SHOWN: Final = 3


def differences(
    root: Path, reused: Mapping[Code, int], commands: Mapping[str, Command | None]
) -> list[str]:
    """A line for each phase that has results of other code, with the `rerun` that takes them."""
    found: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for (phase, experiment, version), count in reused.items():
        if version:
            found[phase, experiment][version] = count
    today = {name: _today(root, name, commands.get(name)) for _, name in found}
    lines = []
    for (phase, experiment), counts in found.items():
        now = today[experiment]
        others = {version: count for version, count in counts.items() if version != now}
        if now and others:
            lines.append(_line(phase, others, now))
    return lines


def _today(root: Path, name: str, command: Command | None) -> str:
    if name in BUILT_IN:
        return code.built_in()
    try:
        return code.version(root.resolve(), files(name, command, root))
    except ExperimentError:
        return ""


def _line(phase: str, others: Mapping[str, int], now: str) -> str:
    versions = list(others)
    shown = ", ".join(versions[:MOST_SHOWN])
    if len(versions) > MOST_SHOWN:
        shown += f" and {len(versions) - MOST_SHOWN} more"
    count = thousands(sum(others.values()))
    return (
        f"{phase}: {count} completed with other code ({shown}; now {now}): "
        f"`sqlqueue rerun phase={phase} code={','.join(versions)}`"
    )
