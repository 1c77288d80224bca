"""What similar cells say of a cell that has not run yet."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlqueue.plan.pace import Paces, Seen, Shape, kind_of, shape_of
from sqlqueue.plan.shaped import Shaped


def shape(cost: float = 1.0, experiment: str = "m:f", **parameters: object) -> Shape:
    return shape_of(experiment, parameters, ("workers",), cost)


def seen(shape: Shape, *seconds: float, kind: str = "cpu") -> Seen:
    return Seen(shape, kind, seconds, len(seconds))


def test_a_shape_is_all_but_the_seed_and_what_is_runtime_only() -> None:
    one = shape(width=4, seed=1, workers=2)
    assert one.key == shape(width=4, seed=2, workers=8).key
    others = (shape(width=5, seed=1), shape(2.0, width=4), shape(experiment="m:g", width=4))
    assert len({one.key, *(each.key for each in others)}) == 4


def test_cells_of_one_shape_go_on_as_most_of_them_did() -> None:
    paces = Paces([seen(shape(width=4), 9.0, 10.0, 11.0, 900.0, 10.5)])
    assert paces.seconds(shape(width=4, seed=7), "cpu") == 10.5


def test_nothing_is_guessed_from_another_device_or_experiment() -> None:
    paces = Paces([seen(shape(width=4), 10.0)])
    assert paces.seconds(shape(width=4), "cuda") is None
    assert paces.seconds(shape(experiment="m:g", width=4), "cpu") is None
    assert Paces().usually(shape()) is None


def test_costs_that_hardly_differ_are_in_proportion() -> None:
    paces = Paces([seen(shape(1.0, width=1), 10.0), seen(shape(2.0, width=2), 20.0)])
    assert paces.seconds(shape(100.0, width=9), "cpu") == pytest.approx(1000.0)


def test_costs_that_differ_tell_by_which_power_durations_grow() -> None:
    """As where most of a small cell's time is a start that costs the same for all."""
    known = [seen(shape(float(cost), width=cost), 3 * cost**0.5) for cost in (1, 4, 16, 64)]
    assert Paces(known).seconds(shape(256.0, width=256), "cpu") == pytest.approx(48.0)


def test_a_parameter_explains_what_the_cost_does_not() -> None:
    """Nobody declared a cost: two of four parameters matter, one a size and one a choice."""
    chance = random.Random(3)
    known = [
        seen(
            shape(n=n, lr=lr, model=model, flag=flag),
            n * (4 if model == "deep" else 1) * chance.uniform(0.9, 1.1),
        )
        for n in (1, 2, 4, 8)
        for lr in (0.1, 0.01)
        for model in ("deep", "flat")
        for flag in (True, False)
    ]
    paces = Paces(known)
    assert paces.seconds(shape(n=64, lr=0.001, model="flat", flag=True), "cpu") == pytest.approx(
        64, rel=0.25
    )
    assert paces.seconds(shape(n=64, lr=0.1, model="deep", flag=True), "cpu") == pytest.approx(
        256, rel=0.25
    )


def test_few_cells_explain_nothing_that_one_of_them_alone_says() -> None:
    """Of two cells that differ in three ways it is not told which way mattered."""
    paces = Paces([seen(shape(n=1, lr=0.1), 10.0), seen(shape(n=100, lr=0.2), 20.0)])
    assert paces.seconds(shape(n=1000, lr=0.1), "cpu") == pytest.approx(14.1, rel=0.01)


def test_the_usual_kind_of_device_is_that_of_most_runs() -> None:
    one = shape(width=4)
    paces = Paces([seen(one, 100.0), seen(one, 10.0, 10.0, 10.0, kind="cuda")])
    assert (paces.kinds("m:f"), paces.usually(one)) == (["cuda", "cpu"], 10.0)
    assert kind_of("cuda:1") == "cuda"


def test_a_coarse_shape_has_no_parameters_and_a_rounded_cost() -> None:
    assert shape(0.0123, width=4).coarse.key == shape(0.0118, width=5).coarse.key
    assert shape(0.0123, width=4).coarse.cost == pytest.approx(0.01)


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
CELLS = st.dictionaries(st.sampled_from(["seed", "workers", "a", "b", "c.d"]), VALUES)


@given(st.lists(st.tuples(CELLS, st.sampled_from([1, 1.0, 2.5])), max_size=20))
def test_a_shape_that_is_kept_in_mind_is_the_one_worked_out(
    cells: list[tuple[dict[str, Any], float]],
) -> None:
    shaped = Shaped()
    for parameters, cost in cells + cells:
        found = shaped.of("m:f", parameters, ("workers",), cost)
        assert found.key == shape_of("m:f", parameters, ("workers",), cost).key
