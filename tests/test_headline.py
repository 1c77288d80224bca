"""Failures in one line: the line that says what went wrong, wherever it stands."""

from __future__ import annotations

import traceback

import pytest

from sqlqueue.plan.headline import MOST_CHARACTERS, headline


def raised(*errors: Exception) -> str:
    """The traceback of the last error, raised while the ones before it were handled."""
    try:
        if len(errors) > 1:
            try:
                raise errors[0]
            except Exception:
                raise errors[-1]  # noqa: B904
        raise errors[0]
    except Exception as error:
        return "".join(traceback.format_exception(error))


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (raised(ValueError("no luck")), "ValueError: no luck"),
        (raised(RuntimeError("CUDA error\nset this\n  or that")), "RuntimeError: CUDA error"),
        (raised(KeyError("a"), ValueError("b")), "ValueError: b"),
        (raised(ValueError("")), "ValueError"),
        ("killed by SIGSEGV\nlast lines of its log:\n  Extension modules: x", "killed by SIGSEGV"),
        ("CUDA out of memory", "CUDA out of memory"),
        (
            "RuntimeError: [enforce fail at alloc_cpu.cpp:127] err == 0. Default: no memory",
            "RuntimeError: Default: no memory",
        ),
        ("\n\n  indented", "indented"),
        ("", "no message"),
        (" \n ", "no message"),
        ("Traceback (most recent call last):", "Traceback (most recent call last):"),
        ("x" * 1000, "x" * MOST_CHARACTERS),
    ],
)
def test_the_line_that_says_most(error: str, said: str) -> None:
    assert headline(error) == said
