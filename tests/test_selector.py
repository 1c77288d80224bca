"""Selectors: what the words say, which values they compare with, what they are told when wrong."""

from __future__ import annotations

from typing import Any

import pytest

from sqlqueue.errors import UsageError
from sqlqueue.lifecycle import State
from sqlqueue.plan.selector import Ran, fitting, is_worker, parse

NAN, INF = float("nan"), float("inf")

FITS: list[tuple[str, Any, bool]] = [
    ("x=64", 64, True),
    ("x=64", 64.0, True),
    ("x=6.4e1", 64, True),
    ("x==64", 64, True),
    ("x=1", True, False),
    ("x!=1", True, False),
    ("x=64", "64", False),
    ("x!=64", "64", False),
    ('x="64"', "64", True),
    ("x=true", True, True),
    ("x=true", "true", True),
    ("x=true", 1, False),
    ("x=null", None, True),
    ("x=none", "none", True),
    ("x!=null", 3, True),
    ("x!=null", None, False),
    ("x>0.5", 0.75, True),
    ("x>0.5", 0.5, False),
    ("x>=0.5", 0.5, True),
    ("x<1e-3", 1e-4, True),
    ("x<=1e-3", 0.001, True),
    ("x<1", "0", False),
    ("x<1", None, False),
    ("x>1", NAN, False),
    ("x=nan", NAN, True),
    ("x=-inf", -INF, True),
    ("x=-0", 0, True),
    ("x=9007199254740993", 9007199254740992, False),
    ("x>9007199254740992", 9007199254740993, True),
    ("x=mnist,digits", "digits", True),
    ("x!=mnist,digits", "digits", False),
    ("x!=mnist", "cifar10", True),
    ("x=1,2", 2.0, True),
    ("x=[1, 2]", [1, 2.0], True),
    ('x={"a": 1}', {"a": 1.0}, True),
    ("x.y=2", {"y": 2}, True),
    ("x.y.z=2", {"y": {"z": 2}}, True),
    ("x.y=2", {"z": 2}, False),
    ("y=1", 1, False),
    ("y!=1", 1, False),
]


@pytest.mark.parametrize(("word", "value", "expected"), FITS)
def test_a_value_fits(word: str, value: Any, expected: bool) -> None:
    assert parse([word]).fits({"x": value}, set()) is expected


def test_a_dotted_name_that_is_one() -> None:
    assert parse(["a.b=1"]).fits({"a.b": 1}, set())


def test_all_words_must_hold() -> None:
    meant = parse(["x=1", "y>2"])
    assert meant.fits({"x": 1, "y": 3}, set())
    assert not meant.fits({"x": 1, "y": 2}, set())


def test_what_can_never_match_is_known_by_what_was_met() -> None:
    met: set[str] = set()
    assert not parse(["x=abc", "y=1"]).fits({"x": 3, "y": 2}, met)
    assert met == {"y=1"}


STATES = [
    ("state=failed", {State.FAILED}),
    ("state=FAILED,cancelled", {State.FAILED, State.CANCELLED}),
    ("state=c*", {State.COMPLETED, State.CANCELLED}),
    ("state!=completed", set(State) - {State.COMPLETED}),
]


@pytest.mark.parametrize(("word", "expected"), STATES)
def test_states(word: str, expected: set[State]) -> None:
    assert parse([word]).states == expected


def test_a_contradiction_is_no_error() -> None:
    assert parse(["state=failed", "state=pending"]).states == frozenset()


def test_phases_by_pattern() -> None:
    (phases,) = parse(["phase=exp1,exp3*"]).phases
    assert fitting(phases, ["exp1", "exp2", "exp3a", "exp3b"]) == {"exp1", "exp3a", "exp3b"}


def test_task_ids() -> None:
    assert parse(["exp1_0_42", "exp1_1_42"]).task_ids == ("exp1_0_42", "exp1_1_42")


def test_where_it_ran_and_what_it_said() -> None:
    last = Ran("box-gpu0", "box", "cuda:0", "CUDA out of memory. Tried 2 GiB")
    for word in ("worker=gpu0", "worker=box-gpu0", "host=b*", "device=cuda:0,cpu",
                 "error=cuda OUT of memory"):  # fmt: skip
        assert parse([word]).ran(last), word
    for word in ("worker=gpu", "host=o*", "device=cpu", "error=KeyError"):
        assert not parse([word]).ran(last), word


def test_a_worker_by_its_name_without_its_host() -> None:
    assert is_worker("gpu0", "box-gpu0")
    assert not is_worker("gpu0", "box-gpu0-2")
    assert is_worker("gpu0*", "box-gpu0-2")


WRONG = [
    ([], "no task is selected"),
    (["phase="], "value is missing"),
    (["state=faild"], "did you mean 'failed'"),
    (["x<abc"], "compares numbers"),
    (["x<1,b"], "compares numbers"),
    (["phase<exp1"], "phase takes ="),
    (["--dryrun"], "is no option, task id or"),
    (["x=1"] * 1001, "at most 1000"),
]


@pytest.mark.parametrize(("words", "said"), WRONG)
def test_what_is_wrong_is_told(words: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(words)


def test_everything_and_a_selector_are_two_things() -> None:
    with pytest.raises(UsageError, match="say one"):
        parse(["x=1"], everything=True)
    assert parse([], everything=True).fits({}, set())


def test_names_that_nobody_has_are_told_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'width_factor'"):
        parse(["width_facto=1"]).check(["width_factor", "lr"])
    parse(["optimizer.lr=1"]).check(["optimizer"])
    (phases,) = parse(["phase=expl"]).phases
    with pytest.raises(UsageError, match="did you mean 'exp1'"):
        fitting(phases, ["exp1", "other"])
