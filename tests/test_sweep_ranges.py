"""Ranges: the values that a text stands for, exactly; where it is one; and what it costs.

The values are checked against `Decimal`, against numpy, and against a frozen list: a
signature hangs on each.
"""

from __future__ import annotations

import math
import re
import time
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlqueue.errors import SweepError
from sqlqueue.plan import ranges
from sqlqueue.plan.ranges import MAX_VALUES, RangeError
from sqlqueue.plan.signature import canonical, digest
from sqlqueue.plan.sweep import Sweep, load
from sqlqueue.plan.task import Experiment, Parameter

unhurried = settings(deadline=None)

DECLARED = Experiment(
    "m:f",
    (
        Parameter("seed", "int", 1),
        Parameter("lr", "float", 0.1, minimum=0.0),
        Parameter("tag", "str", "none"),
        Parameter("any", default=None),
        Parameter("flag", "bool", False),
    ),
)


def values(text: str) -> list[int | float]:
    found = ranges.read(text)
    assert found is not None
    assert found.count == len(found.values())
    return found.values()


def loaded(body: str, top: str = "") -> Sweep:
    text = f"defaults: {{output_dir: r, experiment: 'm:f'}}\n{top}x:\n{body}\n"
    return load([("f.yaml", text)], lambda _: DECLARED)


def column(sweep: Sweep, name: str) -> list[Any]:
    found = [task.parameters[name] for task in sweep.tasks()]
    assert len(found) == sweep.count
    return found


FROZEN: dict[str, list[int | float]] = {
    "range(5)": [0, 1, 2, 3, 4],
    "range(2, 5)": [2, 3, 4],
    "range(0, 10, 3)": [0, 3, 6, 9],
    "range(5, 0, -2)": [5, 3, 1],
    " range ( -1 ,+1 ) ": [-1, 0],
    "range(0, 1, 0.25)": [0.0, 0.25, 0.5, 0.75],
    "range(0, 0.5, 0.1)": [0.0, 0.1, 0.2, 0.3, 0.4],
    "range(3.0)": [0.0, 1.0, 2.0],
    "range(1e2, 1e3, 3e2)": [100.0, 400.0, 700.0],
    "linspace(0, 1, 5)": [0.0, 0.25, 0.5, 0.75, 1.0],
    "linspace(0, 1, 11)": [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
    "linspace(0, 1, 4)": [0.0, 0.3333333333333333, 0.6666666666666666, 1.0],
    "linspace(1, -1, 3)": [1.0, 0.0, -1.0],
    "linspace(0.1, 0.7, 7)": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7],
    "linspace(7, 9, 1)": [7.0],
    "linspace(3, 3, 2)": [3.0, 3.0],
    "logspace(-4, -1, 4)": [0.0001, 0.001, 0.01, 0.1],
    "logspace(-4, -1, 7)": [
        0.0001, 0.00031622776601683794, 0.001, 0.0031622776601683794, 0.01,
        0.03162277660168379, 0.1,
    ],
    "logspace(0, 1, 4)": [1.0, 2.154434690031884, 4.641588833612779, 10.0],
    "logspace(2, 0, 3)": [100.0, 10.0, 1.0],
    "logspace(-300, 300, 3)": [1e-300, 1.0, 1e300],
}  # fmt: skip


@pytest.mark.parametrize("text", FROZEN)
def test_a_range_stands_for_these_values_for_ever(text: str) -> None:
    found = values(text)
    assert [(each, type(each)) for each in found] == [(each, type(each)) for each in FROZEN[text]]


def test_the_signatures_of_a_range_are_frozen() -> None:
    found = loaded('  combinations: {lr: "logspace(-4, -1, 7)", seed: "range(2)"}')
    signatures = [task.signature for task in found.tasks()]
    assert signatures == [
        digest(DECLARED, {"lr": lr, "seed": seed})
        for lr in FROZEN["logspace(-4, -1, 7)"]
        for seed in (0, 1)
    ]
    assert signatures[3] == "46572e4f71806be8d45338bee66784aa"


# --- against others ---------------------------------------------------------------------

decimals = st.decimals(-1000, 1000, places=3, allow_nan=False)


@unhurried
@given(st.integers(-50, 50), st.integers(-50, 50), st.integers(-9, 9).filter(bool))
def test_range_of_integers_is_python_s(start: int, stop: int, step: int) -> None:
    expected = list(range(start, stop, step))
    if expected:
        assert values(f"range({start}, {stop}, {step})") == expected
    else:
        with pytest.raises(RangeError, match="empty range"):
            ranges.read(f"range({start}, {stop}, {step})")


@unhurried
@given(decimals, decimals, st.integers(1, 60))
def test_linspace_is_exact_and_numpy_s(first: Decimal, last: Decimal, count: int) -> None:
    found = values(f"linspace({first}, {last}, {count})")
    assert len(found) == count
    near = np.linspace(float(first), float(last), count)
    np.testing.assert_allclose(found, near, rtol=1e-12, atol=1e-12)
    for index, each in enumerate(found):
        part = Fraction(index, max(count - 1, 1))
        assert each == float(Fraction(first) * (1 - part) + Fraction(last) * part)


@unhurried
@given(decimals, st.integers(1, 99), st.integers(1, 60))
def test_a_decimal_step_gives_what_the_decimals_are_read_as(
    start: Decimal, thousandths: int, count: int
) -> None:
    step = Decimal(thousandths) / 1000
    stop = start + step * count
    found = values(f"range({start}, {stop}, {step})")
    assert found == [float(str(start + step * index)) for index in range(count)]
    assert all(len(repr(each)) <= len("-1000.999") for each in found)


@unhurried
@given(st.integers(-300, 300), st.integers(-300, 300), st.integers(1, 40))
def test_logspace_is_within_a_last_place_of_numpy_s(first: int, last: int, count: int) -> None:
    found = values(f"logspace({first}, {last}, {count})")
    np.testing.assert_allclose(found, np.logspace(first, last, count), rtol=1e-12)
    for each, exponent in zip(found, np.linspace(first, last, count), strict=True):
        if exponent == int(exponent) and count > 1:
            assert each == float(f"1e{int(exponent)}")


# --- what it costs ----------------------------------------------------------------------

HUGE = ["range(1000000000000)", "range(1e308)", "linspace(0, 1, 1000000000000)",
        "logspace(0, 1, 99999999999999999999)", "range(0, 1, 1e-300)",
        f"range(0, 1{'0' * 98})"]  # fmt: skip


@pytest.mark.parametrize("text", HUGE)
@pytest.mark.parametrize(
    "body", ["combinations: {seed: '%s'}", "combinations: {any: '%s'}", "zip: {seed: '%s'}",
             "combinations: {seed: 1}\n  exclude: [{lr: '%s'}]", "include: [{any: '%s'}]"]
)  # fmt: skip
def test_a_huge_range_costs_nothing(text: str, body: str) -> None:
    begun = time.perf_counter()
    with pytest.raises(SweepError, match=f"expected at most {MAX_VALUES}"):
        loaded("  " + body % text)
    assert time.perf_counter() - begun < 5


def test_many_large_ranges_are_too_many_values() -> None:
    lists = "\n".join(f"    - {{any: 'range({MAX_VALUES - n})'}}" for n in range(11))
    with pytest.raises(SweepError, match="more than 1000000 values"):
        loaded(f"  combinations: {{seed: 1}}\n  exclude:\n{lists}")


def test_a_range_as_long_as_allowed() -> None:
    assert loaded(f"  combinations: {{seed: range({MAX_VALUES})}}").count == MAX_VALUES


# --- where it is one --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "name", "expected"),
    [
        ("combinations: {seed: range(3)}", "seed", [0, 1, 2]),
        ("combinations:\n    seed: range(1, 3)", "seed", [1, 2]),
        ("combinations:\n    - lr: linspace(0, 1, 3)", "lr", [0.0, 0.5, 1.0]),
        ("combinations: {lr: 'range(2)'}", "lr", [0.0, 1.0]),
        ("combinations: {any: range(2)}", "any", [0, 1]),
        ("combinations: {any: 'range(2)'}", "any", [0, 1]),
        ("combinations: {any: ['range(2)', range(2)]}", "any", ["range(2)", 0, 1]),
        ("combinations:\n    seed:\n      - range(2)\n      - 7\n      - range(8, 10)", "seed",
         [0, 1, 7, 8, 9]),
        ("combinations: {tag: range(3)}", "tag", ["range(3)"]),
        ("combinations: {tag: ['range(3)', 'linspace(a)', b]}", "tag",
         ["range(3)", "linspace(a)", "b"]),
        ("combinations: {any: relu(6)}", "any", ["relu(6)"]),
        ("combinations: {any: 'rnage(6)'}", "any", ["rnage(6)"]),
        ("combinations: {seed: range(2), lr: 'linspace(1, 1, 3)'}", "lr", [1.0, 1.0]),
        ("combinations: {seed: range(3), any: [a, b, c]}\n  zip: [seed, any]", "seed", [0, 1, 2]),
        ("zip: {seed: range(2), lr: 'logspace(0, 1, 2)'}", "lr", [1.0, 10.0]),
        ("combinations: {seed: range(5)}\n  exclude: [{seed: 'range(1, 4)'}]", "seed", [0, 4]),
        ("include: [{seed: range(2)}, {seed: 5}]", "seed", [0, 1, 5]),
        ("combinations: {seed: 'linspace(0, 4, 3)'}", "seed", [0, 2, 4]),
        ("combinations: {any: >-\n      range(2)}", "any", None),
    ],
)  # fmt: skip
def test_where_a_list_may_stand_a_range_may(body: str, name: str, expected: Any) -> None:
    if expected is None:
        with pytest.raises(SweepError):
            loaded("  " + body)
        return
    assert column(loaded("  " + body), name) == expected


def test_seeds_may_be_a_range() -> None:
    found = loaded("  combinations: {lr: [1, 2]}", top="seeds: range(3)\n")
    assert column(found, "seed") == [0, 0, 1, 1, 2, 2]


def test_both_spellings_are_the_same_cells() -> None:
    spelled = loaded('  combinations: {lr: "linspace(0, 1, 11)", seed: range(2)}')
    written = loaded(
        "  combinations: {lr: [0, .1, .2, .3, .4, .5, .6, .7, .8, .9, 1], seed: [0, 1]}"
    )
    assert [t.signature for t in spelled.tasks()] == [t.signature for t in written.tasks()]
    assert all(len(canonical(each)) <= 3 for each in column(spelled, "lr"))


# --- what is wrong with it --------------------------------------------------------------

WRONG = {
    "seed: range(0, 5": "cut at its comma",
    "any:\n      - range(0\n      - 5)": "cut at its comma",
    "seed: range()": "found 0 numbers in range, expected range(stop)",
    "seed: 'range(1, 2, 3, 4)'": "found 4 numbers",
    "seed: range(0)": "empty range",
    "seed: 'range(5, 1)'": "must be above its start",
    "seed: 'range(1, 5, -1)'": "must be below its start",
    "seed: 'range(1, 5, 0)'": "a step of 0",
    "seed: 'range(1, 5, 0e99999999999)'": "a step of 0",
    "lr: 'linspace(0, 1)'": "found 2 numbers in linspace, expected linspace(first, last, count)",
    "lr: 'linspace(0, 1, 0)'": "found the count 0, expected at least 1",
    "lr: 'linspace(0, 1, -3)'": "found the count -3",
    "lr: 'linspace(0, 1, 2.5)'": "found the count 2.5, expected an integer",
    "lr: 'linspace(a, 1, 2)'": "found 'a' in linspace, expected a number",
    "lr: 'linspace(, 1, 2)'": "found '' in linspace",
    "lr: 'linspace(.inf, 1, 2)'": "found '.inf' in linspace",
    "lr: 'linspace(1e999, 1, 2)'": "that a float can hold",
    "lr: 'linspace(1e-999, 1, 2)'": "that a float can hold",
    "seed: range(012)": "without zeros in front",
    "seed: range(10**12)": "nothing is computed",
    "seed: range(__import__('os').getpid())": "nothing is computed",
    "seed: range(range(3))": "nothing is computed",
    "lr: 'logspace(1, 400, 2)'": "exponent beyond 307",
    "seed: rnage(5)": "did you mean 'range'?",
    "any: np.linspace(1)": "did you mean 'linspace'?",
    "any: Range(1)": "did you mean 'range'?",
    "seed: 'linspace(0, 1, 3)'": "found the number 0.5, expected an integer",
    "lr: 'range(-1, 1)'": "found the number -1.0, expected a number of at least 0",
    "flag: range(2)": "expected true or false",
    "seed: ['range(3)']": 'found the text "range(3)", expected an integer',
}  # fmt: skip


@pytest.mark.parametrize("body", WRONG)
def test_a_wrong_range_is_told_with_its_place(body: str) -> None:
    with pytest.raises(SweepError) as caught:
        loaded(f"  combinations:\n    {body}")
    name = body.split(":")[0]
    told = caught.value.message.split("\n")
    assert all(re.match(r"f\.yaml:[4-7]: phase 'x', key ", each) for each in told)
    assert any(WRONG[body] in each and f"key {name!r}" in each for each in told), told


def test_a_comma_in_a_flow_mapping_is_explained() -> None:
    with pytest.raises(SweepError, match=r'put it into quotes: "range\(0, 5\)"'):
        loaded("  combinations: {any: range(0, 5)}")


@pytest.mark.parametrize(
    ("given", "ranges"),
    [
        ("seed: range(5,1)", ["range(5, 1)"]),
        ("lr: linspace(0, 1, 5)", ["linspace(0, 1, 5)"]),
        ("seed: range(0, 5), any: range(0, 5), lr: 1", ["range(0, 5)"] * 2),
        ("lr: linspace(0, 1, 5), any: logspace(0, 1, 5)",
         ["linspace(0, 1, 5)", "logspace(0, 1, 5)"]),
    ],
)  # fmt: skip
def test_a_range_that_yaml_cut_is_one_problem_with_one_cure(given: str, ranges: list[str]) -> None:
    with pytest.raises(SweepError) as caught:
        loaded(f"  combinations: {{{given}}}")
    told = caught.value.message.split("\n")
    assert [each.partition("put it into quotes: ")[2] for each in told] == [
        f'"{each}"' for each in ranges
    ]


@pytest.mark.parametrize("given", ["any: range(0, 5: 1)", "any: range(0, seed: 5)", "seed: , 5)"])
def test_keys_that_are_no_rest_of_a_range_stay_keys(given: str) -> None:
    with pytest.raises(SweepError) as caught:
        loaded(f"  combinations: {{{given}}}")
    assert "range(0, " not in caught.value.message.replace('"range(0, 5)"', "")


@pytest.mark.parametrize("name", ["seed", "lr", "any"])
def test_where_one_value_is_to_stand_a_range_is_an_error(name: str) -> None:
    with pytest.raises(SweepError, match=f"key '{name}': found .*expected one value"):
        loaded(f"  combinations: {{flag: true}}\n  defaults:\n    {name}: range(3)")
    assert column(loaded("  combinations: {seed: 1}\n  defaults: {tag: range(3)}"), "tag") == [
        "range(3)"
    ]


@unhurried
@given(st.text("rangelispcog(),. 0123456789e+-*_", max_size=40))
def test_any_text_is_a_range_or_none_or_an_error(text: str) -> None:
    try:
        found = ranges.read(text)
    except RangeError as error:
        assert "\n" not in str(error)
        return
    assert ranges.weight(text) <= MAX_VALUES
    if found is not None and found.count <= MAX_VALUES:
        made = [found.at(index) for index in (0, found.count - 1)]
        assert all(math.isfinite(each) for each in made)
