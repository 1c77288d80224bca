"""Whatever an experiment measured is kept: every kind of value has a form in JSON."""

from __future__ import annotations

import json
import math
from collections import OrderedDict, namedtuple
from dataclasses import dataclass
from enum import Enum, IntEnum
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sqlqueue.worker.metrics import plain, plain_mapping


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


@dataclass
class Point:
    x: float
    y: np.float32


Pair = namedtuple("Pair", "a b")


class Hostile:
    ndim = 0

    def tolist(self) -> Any:
        raise RuntimeError("no")

    def __str__(self) -> str:
        raise RuntimeError("no text either")


class FakeFloat(float):
    def __repr__(self) -> str:
        return "not a number"


TABLE: list[tuple[Any, Any]] = [
    (None, None),
    (True, True),
    (7, 7),
    (10**30, 10**30),
    (1 << 5000, hex(1 << 5000)),
    (0.1 + 0.2, 0.1 + 0.2),
    (math.inf, math.inf),
    ("text\nmore", "text\nmore"),
    ("\ud800", "\\ud800"),
    (np.float64(0.25), 0.25),
    (np.float32(0.5), 0.5),
    (np.int64(7), 7),
    (np.bool_(True), True),
    (np.str_("a"), "a"),
    (np.longdouble(0.5), 0.5),
    (np.array(2.0), 2.0),
    (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    (np.array([None, "a"], dtype=object), [None, "a"]),
    (Colour.RED, "red"),
    (Level.HIGH, 3),
    (Point(1.0, np.float32(0.5)), {"x": 1.0, "y": 0.5}),
    (Pair(1, np.int8(2)), [1, 2]),
    ({1: {Colour.RED: 2}}, {"1": {"red": 2}}),
    ({1: "a", "1": "b"}, {"1": "a", "1_": "b"}),
    ({3, 1, 2}, [1, 2, 3]),
    (range(3), [0, 1, 2]),
    (Path("a/b"), "a/b"),
    (Fraction(1, 3), "1/3"),
    (1 + 2j, "(1+2j)"),
    (b"ab", "b'ab'"),
    (OrderedDict(a=1), {"a": 1}),
    (Point, "<class 'test_child_metrics.Point'>"),
    (Hostile(), "<Hostile>"),
    (FakeFloat(2.5), 2.5),
]


@pytest.mark.parametrize(("value", "expected"), TABLE, ids=lambda value: type(value).__name__)
def test_every_kind_of_value(value: Any, expected: Any) -> None:
    found = plain(value)
    assert found == expected
    assert json.loads(json.dumps(found)) == expected
    assert type(found) is type(expected)


def test_not_a_number_stays_one() -> None:
    assert math.isnan(plain(np.float32("nan")))
    assert json.dumps(plain({"loss": float("nan")})) == '{"loss": NaN}'


def test_tensors() -> None:
    import torch

    assert plain(torch.tensor(2)) == 2
    assert plain(torch.tensor(0.5, requires_grad=True)) == 0.5
    assert plain(torch.tensor([1.0, 2.0], dtype=torch.bfloat16)) == [1.0, 2.0]
    assert plain_mapping({"a": torch.zeros(2, 1)}) == {"a": [[0.0], [0.0]]}


def test_a_value_that_holds_itself_comes_to_an_end() -> None:
    loop: list[Any] = []
    loop += [loop, loop]
    assert plain(loop) == ["[[...], [...]]"] * 2
