"""What campaigns did, counted over a whole test run, and said at its end.

`count("kills")` anywhere in a test; the totals of all test processes are printed in one line.
What is not here: what is counted.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

COUNTS: Counter[str] = Counter()
_SENT = "sqlqueue_tally"


def count(what: str, number: int = 1) -> None:
    """Adds to a total; `what` is a plural noun: kills, power cuts, injected errors."""
    COUNTS[what] += number


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process that runs tests for another one sends its counts there."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[_SENT] = dict(COUNTS)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    COUNTS.update(getattr(node, "workeroutput", {}).get(_SENT, {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not COUNTS:
        return
    done = ", ".join(f"{number:,} {what}" for what, number in sorted(COUNTS.items()))
    broken = len(terminalreporter.stats.get("failed", []))
    verdict = f"{broken} tests FAILED" if broken else "0 lost, 0 doubled, 0 torn"
    terminalreporter.write_line(f"Campaign: {done}; {verdict}")
