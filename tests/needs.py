"""What a test needs of the machine: skipped where it is missing, an error where it must be.

On the machine of continuous integration (`CI` is set) everything must be there.
"""

from __future__ import annotations

import os

import pytest


def need(there: bool, what: str) -> None:
    """Skips the test unless `there`; fails instead where continuous integration runs.

    `what` says what is missing and how to get it: "root, to mount a small filesystem".
    """
    if there:
        return
    if os.environ.get("CI"):
        pytest.fail(f"this test needs {what}")
    pytest.skip(f"needs {what}")
