"""Sweep files that are right: what they mean, cell by cell.

The expansion is checked against a naive enumeration of its own; counts and directories
against the cells.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlqueue.errors import ExperimentError
from sqlqueue.plan.signature import canonical, digest
from sqlqueue.plan.sweep import Sweep, load
from sqlqueue.plan.task import Experiment, Parameter, Task

unhurried = settings(deadline=None)
"""A busy machine is no failure."""

POISONING = Experiment(
    "poisoning",
    (
        Parameter("dataset", "str", "digits", choices=("digits", "mnist", "cifar10")),
        Parameter("model_type", "str", "cnn", choices=("lr", "cnn")),
        Parameter("width_factor", "int", 4),
        Parameter("seed", "int", 42),
        Parameter("batch_size", "int", 64),
        Parameter("weight_decay", "float", 0.0),
        Parameter("alpha", "float", 100.0),
        Parameter("aggregator", "str", "fedavg"),
        Parameter("data_dir", "str", "data", runtime_only=True),
    ),
    cost=lambda cell: float(cell["width_factor"] ** 2),
)
OTHERS = {
    "m:f": Experiment("m:f", (Parameter("seed", "int", 1), Parameter("layers", default=None))),
    "m:open": Experiment("m:open", (Parameter("b", "int", 1),), open_ended=True),
    "m:plain": Experiment("m:plain", (Parameter("x", default=0),)),
}

CONTRACT = """
defaults:
  output_dir: "results_exp1_{dataset}"
  experiment: poisoning
  batch_size: 128
  weight_decay: 5e-4
  alpha: 100.0

exp1_vary_width:
  combinations:
    - seed: [42, 101, 2024]
    - model_type: [lr, cnn]
    - dataset: [mnist, cifar10]
    - width_factor: [1, 4, 16]
    - aggregator: fedavg
"""


def lookup(name: str) -> Experiment:
    if name == "poisoning":
        return POISONING
    if name in OTHERS:
        return OTHERS[name]
    raise ExperimentError(f"no experiment {name!r}")


def loaded(*texts: str) -> Sweep:
    return load([(f"{index}.yaml", text) for index, text in enumerate(texts)], lookup)


def block(body: str, name: str = "x", top: str = "defaults: {output_dir: r}") -> str:
    return f"{top}\n{name}:\n{body}\n"


def cells(sweep: Sweep, *names: str) -> list[tuple[Any, ...]]:
    """The values of these parameters, cell by cell."""
    return [tuple(task.parameters[name] for name in names) for task in sweep.tasks()]


def signatures(text: str) -> list[str]:
    return [task.signature for task in loaded(text).tasks()]


# --- the example of the documentation -------------------------------------------------


def test_the_product_has_the_first_key_slowest() -> None:
    expected = itertools.product([42, 101, 2024], ["lr", "cnn"], ["mnist", "cifar10"], [1, 4, 16])
    found = cells(loaded(CONTRACT), "seed", "model_type", "dataset", "width_factor")
    assert found == list(expected)


def test_a_task_is_complete() -> None:
    task = next(loaded(CONTRACT).tasks())
    assert task == Task(
        signature=task.signature,
        phase="exp1_vary_width",
        experiment="poisoning",
        parameters={
            "dataset": "mnist",
            "model_type": "lr",
            "width_factor": 1,
            "seed": 42,
            "batch_size": 128,
            "weight_decay": 0.0005,
            "alpha": 100.0,
            "aggregator": "fedavg",
            "data_dir": "data",
        },
        output_dir="results_exp1_mnist",
        seed=42,
        runtime_only=("data_dir",),
        cost=1.0,
    )
    assert list(task.parameters) == [each.name for each in POISONING.parameters]


def test_phases_experiments_and_directories_are_told_without_the_cells() -> None:
    found = loaded(CONTRACT)
    assert [(each.name, each.experiment, each.count) for each in found.phases] == [
        ("exp1_vary_width", "poisoning", 36)
    ]
    assert found.count == 36
    assert found.experiments == {"poisoning": POISONING}
    assert found.output_dirs() == ["results_exp1_mnist", "results_exp1_cifar10"]


def test_signatures_are_the_digest_of_the_complete_cell() -> None:
    for task in loaded(CONTRACT).tasks():
        assert task.signature == digest(POISONING, task.parameters)


def test_tasks_do_not_share_their_parameters() -> None:
    first, second = itertools.islice(loaded(CONTRACT).tasks(), 2)
    assert first.parameters is not second.parameters


def test_a_mapping_of_combinations_means_the_same_as_a_list() -> None:
    as_list = block("  combinations:\n    - seed: [1, 2]\n    - width_factor: [3, 4]")
    as_mapping = block("  combinations: {seed: [1, 2], width_factor: [3, 4]}")
    assert signatures(as_list) == signatures(as_mapping)


def test_a_million_cells_are_counted_and_begun_at_once() -> None:
    seeds = ", ".join(map(str, range(1000)))
    widths = ", ".join(map(str, range(1000)))
    found = loaded(block(f"  combinations: {{seed: [{seeds}], width_factor: [{widths}]}}"))
    assert found.count == 1_000_000
    assert found.output_dirs() == ["r"]
    assert next(found.tasks()).seed == 0


# --- where values come from -----------------------------------------------------------


def test_combinations_over_phase_defaults_over_file_defaults_over_the_experiment() -> None:
    text = block(
        "  defaults: {batch_size: 2, alpha: 2}\n  combinations: {alpha: 3}",
        top="defaults: {output_dir: r, batch_size: 1, alpha: 1, weight_decay: 1}",
    )
    assert cells(loaded(text), "width_factor", "weight_decay", "batch_size", "alpha") == [
        (4, 1.0, 2, 3.0)
    ]


def test_steering_keys_of_the_phase_win_over_its_defaults_and_the_file() -> None:
    text = block(
        "  defaults: {priority: 2, timeout: 5}\n  priority: 3\n  combinations: {seed: 1}",
        top="defaults: {output_dir: r, priority: 1, max_attempts: 7, timeout: 9}",
    )
    task = next(loaded(text).tasks())
    assert (task.priority, task.max_attempts, task.timeout_seconds) == (3, 7, 5.0)


def test_steering_keys_may_stand_among_the_combinations() -> None:
    text = "x: {combinations: [output_dir: q, experiment: 'm:plain', priority: 5, x: [1, 2]]}"
    found = [(task.output_dir, task.experiment, task.priority) for task in loaded(text).tasks()]
    assert found == [("q", "m:plain", 5)] * 2


def test_steering_keys_and_phases_do_not_count_in_signatures() -> None:
    plain = block("  combinations: {seed: [1, 2]}")
    steered = block(
        "  combinations: {seed: [1, 2]}\n  priority: 9\n  max_attempts: 1\n  timeout: 3:50:00\n"
        "  project_name: other\n  output_dir: elsewhere",
        name="another",
    )
    assert signatures(plain) == signatures(steered)


def test_the_spelling_of_a_value_does_not_count() -> None:
    spelled = ["1", "1.0", "1e0", '"1"', "0x1"]
    texts = [block(f"  combinations: {{alpha: {each}}}") for each in spelled]
    assert len({signature for text in texts for signature in signatures(text)}) == 1


def test_a_value_said_twice_in_a_list_is_one_cell() -> None:
    found = loaded(block("  combinations: {seed: [1, 2, 1.0, '1'], width_factor: [3, 3]}"))
    assert cells(found, "seed", "width_factor") == [(1, 3), (2, 3)]
    assert found.count == 2


def test_a_list_is_a_value_where_any_value_is_taken() -> None:
    text = block("  experiment: 'm:f'\n  combinations: {layers: [[64, 64], [{a: [1]}], 3]}")
    assert cells(loaded(text), "layers") == [([64, 64],), ([{"a": [1]}],), (3,)]


def test_an_open_ended_experiment_takes_parameters_of_its_own() -> None:
    text = block("  experiment: 'm:open'\n  combinations: {c: [1, 2], a: x}")
    task, _ = loaded(text).tasks()
    assert list(task.parameters.items()) == [("b", 1), ("a", "x"), ("c", 1)]
    assert task.signature == digest(OTHERS["m:open"], {"a": "x", "b": 1, "c": 1})


def test_defaults_of_a_mixed_file_go_to_the_experiments_that_have_them() -> None:
    text = (
        "defaults: {output_dir: r, batch_size: 8, layers: [1]}\n"
        "a: {combinations: {seed: 1}}\n"
        "b: {combinations: {seed: 1}, experiment: 'm:f'}\n"
    )
    first, second = loaded(text).tasks()
    assert first.parameters["batch_size"] == 8
    assert second.parameters == {"seed": 1, "layers": [1]}


def test_the_seed_of_a_task_is_its_parameter_when_it_is_an_integer() -> None:
    assert [task.seed for task in loaded(CONTRACT).tasks()][:1] == [42]
    text = block("  experiment: 'm:open'\n  combinations: {seed: [1, a, true, 2.5, null]}")
    assert [task.seed for task in loaded(text).tasks()] == [1, None, None, None, None]
    assert (
        next(loaded(block("  experiment: 'm:plain'\n  combinations: {x: 1}")).tasks()).seed is None
    )


# --- seeds ----------------------------------------------------------------------------


def test_seeds_are_the_slowest_axis_of_each_phase_that_says_nothing_of_seed() -> None:
    text = (
        "defaults: {output_dir: r, seed: 7}\nseeds: [1, 2]\n"
        "a: {combinations: {width_factor: [3, 4]}}\n"
        "b: {combinations: {seed: [5, 6]}}\n"
        "c: {combinations: {seed: 8}}\n"
        "d: {combinations: {width_factor: 1}, defaults: {seed: 9}}\n"
        "e: {combinations: {width_factor: 1}, zip: {seed: [10, 11], alpha: [1, 2]}}\n"
        "f: {combinations: {x: 1}, experiment: 'm:plain'}\n"
    )
    found = [(task.phase, task.seed) for task in loaded(text).tasks()]
    assert found == [
        ("a", 1), ("a", 1), ("a", 2), ("a", 2), ("b", 5), ("b", 6), ("c", 8), ("d", 9),
        ("e", 10), ("e", 11), ("f", None),
    ]  # fmt: skip


def test_seeds_sweep_an_include_too_unless_it_has_a_seed() -> None:
    text = block(
        "  include:\n    - {width_factor: 1}\n    - {width_factor: 2, seed: 9}",
        top="defaults: {output_dir: r}\nseeds: [1, 2]",
    )
    assert cells(loaded(text), "width_factor", "seed") == [(1, 1), (1, 2), (2, 9)]


# --- zip, exclude, include ------------------------------------------------------------


def test_keys_named_in_zip_move_together_where_the_first_stands() -> None:
    body = "  combinations: {alpha: [1, 2], seed: [3, 4], width_factor: [5, 6]}\n  zip: "
    for group in ("[alpha, width_factor]", "[[width_factor, alpha]]"):
        found = cells(loaded(block(body + group)), "alpha", "seed", "width_factor")
        assert found == [(1, 3, 5), (1, 4, 5), (2, 3, 6), (2, 4, 6)]


def test_a_zip_group_may_bring_its_lists_and_is_then_fastest() -> None:
    body = "  combinations: {seed: [1, 2]}\n  zip: {alpha: [3, 4], width_factor: [5, 6]}"
    found = cells(loaded(block(body)), "seed", "alpha", "width_factor")
    assert found == [(1, 3, 5), (1, 4, 6), (2, 3, 5), (2, 4, 6)]


def test_several_groups_are_several_axes() -> None:
    body = (
        "  zip:\n    - {alpha: [1, 2], width_factor: [1, 1]}\n"
        "    - {seed: [5, 6], batch_size: [7, 8]}"
    )
    found = cells(loaded(block(body)), "alpha", "seed", "batch_size")
    assert found == [(1, 5, 7), (1, 6, 8), (2, 5, 7), (2, 6, 8)]


def test_zip_keeps_values_that_a_list_repeats() -> None:
    body = "  combinations: {alpha: [1, 1, 2], seed: [3, 4, 3]}\n  zip: [alpha, seed]"
    assert cells(loaded(block(body)), "alpha", "seed") == [(1, 3), (1, 4), (2, 3)]


def test_exclude_matches_partial_cells_fixed_values_and_defaults() -> None:
    body = "  combinations: {seed: [1, 2], alpha: [1, 2], model_type: lr}\n  exclude:\n    - "
    for partial, left in [
        ("{seed: 1}", [(2, 1), (2, 2)]),
        ("{seed: 1.0, alpha: '2'}", [(1, 1), (2, 1), (2, 2)]),
        ("{seed: 1, model_type: lr}", [(2, 1), (2, 2)]),
        ("{seed: 1, model_type: cnn}", [(1, 1), (1, 2), (2, 1), (2, 2)]),
        ("{seed: 1, width_factor: 4}", [(2, 1), (2, 2)]),
        ("{alpha: [1, 2], seed: 2}", [(1, 1), (1, 2)]),
        ("{seed: 3}", [(1, 1), (1, 2), (2, 1), (2, 2)]),
        ("{model_type: lr}", []),
    ]:
        found = loaded(block(body + partial))
        assert cells(found, "seed", "alpha") == left
        assert found.count == len(left)


def test_exclude_matches_the_seeds_of_the_file() -> None:
    body = "  experiment: 'm:open'\n  combinations: {c: [1, 2]}\n  exclude: [{seed: 1, c: 2}]"
    found = loaded(block(body, top="defaults: {output_dir: r}\nseeds: [1, 2]"))
    assert cells(found, "seed", "c") == [(1, 1), (2, 1), (2, 2)]


def test_a_directory_whose_cells_are_all_excluded_is_not_one() -> None:
    body = (
        "  output_dir: 'r_{dataset}_{seed}'\n"
        "  combinations: {dataset: [mnist, cifar10], seed: [1, 2], alpha: [1, 2]}\n"
        "  exclude: [{dataset: mnist, seed: 1, alpha: [1, 2]}, {seed: 2, alpha: 1}]"
    )
    found = loaded(block(body))
    assert found.output_dirs() == ["r_mnist_2", "r_cifar10_1", "r_cifar10_2"]


def test_an_include_is_a_whole_cell_with_the_fixed_keys_and_the_defaults() -> None:
    body = (
        "  defaults: {batch_size: 2}\n"
        "  combinations: {seed: [1, 2], aggregator: median}\n"
        "  exclude: [{seed: 2}]\n"
        "  include:\n    - {seed: 2, alpha: 5}\n    - {seed: [7, 8], aggregator: fedavg}"
    )
    found = cells(loaded(block(body)), "seed", "alpha", "aggregator", "batch_size")
    assert found == [
        (1, 100.0, "median", 2),
        (2, 5.0, "median", 2),
        (7, 100.0, "fedavg", 2),
        (8, 100.0, "fedavg", 2),
    ]


def test_a_phase_may_be_nothing_but_includes() -> None:
    assert cells(loaded(block("  include: [{seed: 1}, {seed: 2}]")), "seed") == [(1,), (2,)]


# --- several files --------------------------------------------------------------------


def test_a_phase_in_two_files_is_one_phase() -> None:
    found = loaded(
        block("  combinations: {seed: [1, 2]}"),
        block("  combinations: {seed: 9}", name="y"),
        block("  combinations: {seed: [2, 3]}", top="defaults: {output_dir: q}"),
    )
    assert [(each.name, each.count) for each in found.phases] == [("x", 4), ("y", 1)]
    assert [(task.phase, task.seed, task.output_dir) for task in found.tasks()] == [
        ("x", 1, "r"), ("x", 2, "r"), ("x", 2, "q"), ("x", 3, "q"), ("y", 9, "r"),
    ]  # fmt: skip
    assert found.output_dirs() == ["r", "q"]


def test_a_file_given_twice_is_one_file() -> None:
    text = block("  combinations: {seed: [1, 2]}")
    assert load([("a.yaml", text), ("a.yaml", text)], lookup).count == 2


def test_each_experiment_is_looked_up_once() -> None:
    asked: list[str] = []

    def counting(name: str) -> Experiment:
        asked.append(name)
        return lookup(name)

    load([("a", CONTRACT), ("b", block("  combinations: {seed: 1}"))], counting)
    assert asked == ["poisoning"]


def test_no_files_are_an_empty_sweep() -> None:
    assert loaded().count == 0
    assert list(loaded().tasks()) == []


# --- against a naive enumeration ------------------------------------------------------

NAMES = ("a", "b", "c", "d")
OPEN = Experiment("m:any", tuple(Parameter(name, default=0) for name in NAMES))
value = st.sampled_from([0, 1, 2, 1.0, "1", "a", None, True])
values = st.lists(value, min_size=1, max_size=3)
cell = st.dictionaries(st.sampled_from(NAMES), st.one_of(value, values), min_size=1)


def listed(found: Any) -> list[Any]:
    """Values of a list or of a single value, each form once, in order."""
    kept: list[Any] = []
    for each in found if isinstance(found, list) else [found]:
        if canonical(each) not in map(canonical, kept):
            kept.append(each)
    return kept


def naive(swept: dict[str, Any], exclude: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every cell, one by one; an exclusion is a loop over its keys."""
    for picked in itertools.product(*map(listed, swept.values())):
        found = {**dict.fromkeys(NAMES, 0), **dict(zip(swept, picked, strict=True))}
        if not any(
            all(
                canonical(found[name]) in map(canonical, listed(want))
                for name, want in each.items()
            )
            for each in exclude
        ):
            yield found


@unhurried
@given(cell, st.lists(cell, max_size=4), st.lists(st.sampled_from(NAMES), unique=True, max_size=2))
def test_the_expansion_is_that_of_a_naive_enumeration(
    swept: dict[str, Any], exclude: list[dict[str, Any]], named: list[str]
) -> None:
    phase = {
        "combinations": swept,
        "output_dir": "r_" + "_".join(f"{{{name}}}" for name in named),
        **({"exclude": exclude} if exclude else {}),
    }
    text = json.dumps({"defaults": {"experiment": "m:any"}, "x": phase})
    found = load([("f", text)], lambda _: OPEN)
    expected = list(naive(swept, exclude))
    tasks = list(found.tasks())
    assert [canonical(each.parameters) for each in tasks] == [canonical(each) for each in expected]
    assert [each.signature for each in tasks] == [digest(OPEN, each) for each in expected]
    assert found.count == len(expected)
    assert set(found.output_dirs()) == {each.output_dir for each in tasks}
    assert len(found.output_dirs()) == len(set(found.output_dirs()))


late = st.builds(
    Parameter,
    name=st.sampled_from(NAMES),
    default=value,
    original=st.booleans(),
    first_default=value,
    runtime_only=st.booleans(),
)


@unhurried
@given(
    st.lists(late, unique_by=lambda each: each.name), st.dictionaries(st.sampled_from(NAMES), value)
)
def test_the_digest_of_a_cell_is_that_of_its_task(
    declared: list[Parameter], fixed: dict[str, Any]
) -> None:
    experiment = Experiment("m:late", tuple(declared), open_ended=True)
    text = json.dumps({"x": {"output_dir": "r", "combinations": {**fixed, "q": [1, 2]}}})
    for task in load([("f", text)], lambda _: experiment).tasks():
        assert task.signature == digest(experiment, task.parameters)


@pytest.mark.parametrize("name", ["x", "a-b_c.d", "A1", "2024", "on", "null", "a" * 100])
def test_phase_names_are_as_written(name: str) -> None:
    found = loaded(block("  combinations: {seed: 1}", name=name))
    assert [each.name for each in found.phases] == [name]
