"""docs/CAPTURES.md is what `status`, `failures` and `run` print now, and fits the terminals."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from types import ModuleType

import pytest

from source import REPOSITORY
from sqlqueue import figures


@pytest.fixture(scope="module")
def captures() -> ModuleType:
    path = REPOSITORY / "tools" / "captures.py"
    spec = importlib.util.spec_from_file_location("captures", path)
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["captures"] = made
    spec.loader.exec_module(made)
    return made


@pytest.fixture(scope="module")
def page(captures: ModuleType) -> str:
    found: str = captures.page()
    return found


def blocks(page: str) -> Iterator[tuple[str, list[str]]]:
    """Title and lines of every capture."""
    for title, text in re.findall(r"^## (.*?)\n\n```\n(.*?)\n```", page, re.MULTILINE | re.DOTALL):
        yield title, text.splitlines()


def test_the_page_shows_what_is_printed(captures: ModuleType, page: str) -> None:
    written = captures.PAGE.read_text(encoding="utf-8")
    assert written == page, "run `python tools/captures.py`, and look at what has changed"


def test_no_capture_is_wider_than_its_terminal(page: str) -> None:
    for title, lines in blocks(page):
        columns = 200 if "200" in title else 80
        wide = [line for line in lines if figures.width(line) > columns]
        assert wide == [], title


def test_a_large_queue_fits_on_one_page(page: str) -> None:
    """Whatever matters is in it: what runs, what failed, what the breaker holds."""
    shown = dict(blocks(page))
    hundred = "\n".join(shown["A hundred phases"])
    assert len(shown["A hundred phases"]) <= 60
    for said in ("layers_042", "layers_057", "KeyError", "more phases", "--all"):
        assert said in hundred
    study = "\n".join(shown["A study, at 80 columns"])
    for said in ("paused by the breaker: exp4_iid_non_iid", "12 × OOM", "node7-gpu0"):
        assert said in study
