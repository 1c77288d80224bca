"""`when`: what holds for the cells that match a condition, and for no others.

The division of the phase is checked against a naive enumeration that walks over every cell
and asks each block in turn.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sqlqueue.errors import SweepError
from sqlqueue.plan.signature import canonical, digest
from sqlqueue.plan.sweep import Sweep, load
from sqlqueue.plan.task import Experiment, Parameter

unhurried = settings(deadline=None)

DECLARED = Experiment(
    "m:f",
    (
        Parameter("model", "str", "lr", choices=("lr", "cnn", "vit")),
        Parameter("width", "int", 4),
        Parameter("lr", "float", 0.1),
        Parameter("depth", "int", 1),
        Parameter("seed", "int", 42),
        Parameter("workers", "int", 2, runtime_only=True),
    ),
)
TOP = "defaults: {output_dir: 'r_{depth}', experiment: 'm:f'}\n"


def loaded(body: str, top: str = TOP) -> Sweep:
    return load([("f.yaml", f"{top}x:\n{body}\n")], lambda _: DECLARED)


def cells(found: Sweep, *names: str) -> list[tuple[Any, ...]]:
    made = [tuple(task.parameters[name] for name in names) for task in found.tasks()]
    assert len(made) == found.count
    assert set(found.output_dirs()) == {task.output_dir for task in found.tasks()}
    return made


MODELS = "  combinations: {model: [lr, cnn], width: [1, 4]}\n  when:\n    - "


def test_a_value_is_fixed_and_a_list_is_swept_for_the_cells_that_match() -> None:
    found = loaded(MODELS + "{if: {model: cnn}, then: {lr: [0.5, 0.25], depth: 3}}")
    assert cells(found, "model", "width", "lr", "depth") == [
        ("lr", 1, 0.1, 1), ("lr", 4, 0.1, 1),
        ("cnn", 1, 0.5, 3), ("cnn", 1, 0.25, 3), ("cnn", 4, 0.5, 3), ("cnn", 4, 0.25, 3),
    ]  # fmt: skip
    assert found.output_dirs() == ["r_1", "r_3"]
    for task in found.tasks():
        assert task.signature == digest(DECLARED, task.parameters)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("{if: {model: [cnn, vit], width: 4}, then: {depth: 2}}", [1, 1, 1, 2]),
        ("{if: {width: 'range(2, 9)'}, then: {depth: range(2)}}", [1, 1, 0, 1, 0, 1]),
        ("{if: {lr: '0.1'}, then: {depth: 7}}", [7, 7, 7, 7]),
        ("{if: {seed: 42, model: lr}, then: {depth: 7}}", [7, 7, 1, 1]),
        ("{if: {width: 4.0}, then: {workers: 9, depth: 2}}", [1, 1, 2, 2]),
    ],
)
def test_a_condition_is_a_partial_cell(block: str, expected: list[int]) -> None:
    assert [each for (each,) in cells(loaded(MODELS + block), "depth")] == expected


def test_one_block_may_stand_without_a_list() -> None:
    body = "  combinations: {model: [lr, cnn]}\n  when: {if: {model: cnn}, then: {depth: 9}}"
    assert cells(loaded(body), "depth") == [(1,), (9,)]


def test_blocks_see_what_earlier_ones_gave_and_win_over_it() -> None:
    body = (
        "{if: {model: cnn}, then: {depth: [2, 3], lr: 1}}\n"
        "    - {if: {depth: 3}, then: {lr: [2, 3]}}\n"
        "    - {if: {model: cnn, width: 4}, then: {lr: 5}}"
    )
    assert cells(loaded(MODELS + body), "model", "width", "depth", "lr") == [
        ("lr", 1, 1, 0.1), ("lr", 4, 1, 0.1),
        ("cnn", 1, 2, 1.0), ("cnn", 4, 2, 5.0),
        ("cnn", 1, 3, 2.0), ("cnn", 1, 3, 3.0), ("cnn", 4, 3, 5.0),
    ]  # fmt: skip


def test_then_wins_over_what_is_fixed_and_over_the_defaults() -> None:
    body = (
        "  defaults: {depth: 5}\n  combinations: {model: [lr, cnn], lr: 7}\n"
        "  when: [{if: {model: cnn}, then: {lr: 8, depth: 6}}]"
    )
    assert cells(loaded(body), "lr", "depth") == [(7.0, 5), (8.0, 6)]


def test_conditions_see_zipped_keys_and_seeds() -> None:
    body = (
        "  zip: {model: [lr, cnn, vit], width: [1, 2, 3]}\n  when:\n"
        "    - {if: {width: [2, 3], seed: 1}, then: {depth: 0}}"
    )
    found = loaded(body, TOP + "seeds: [1, 2]\n")
    assert sorted(cells(found, "seed", "width", "depth")) == [
        (1, 1, 1), (1, 2, 0), (1, 3, 0), (2, 1, 1), (2, 2, 1), (2, 3, 1),
    ]  # fmt: skip


def test_exclude_takes_out_cells_as_when_made_them() -> None:
    body = MODELS + "{if: {model: cnn}, then: {depth: [2, 3]}}\n  exclude: [{depth: 3, width: 4}]"
    assert ("cnn", 4, 3) not in cells(loaded(body), "model", "width", "depth")
    assert loaded(body).count == 5


def test_includes_are_whole_and_not_touched() -> None:
    body = MODELS + "{if: {model: cnn}, then: {depth: [2, 3]}}\n  include: [{model: cnn, width: 9}]"
    assert cells(loaded(body), "model", "width", "depth")[-1] == ("cnn", 9, 1)


def test_an_excluded_match_is_no_mistake() -> None:
    body = MODELS + "{if: {model: cnn}, then: {depth: 2}}\n  exclude: [{model: cnn}]"
    assert cells(loaded(body), "model") == [("lr",), ("lr",)]


def test_a_million_cells_are_counted_and_begun_at_once() -> None:
    body = (
        "  combinations: {seed: range(1000), width: range(500), model: [lr, cnn]}\n  when:\n"
        "    - {if: {model: cnn, width: 'range(100)'}, then: {depth: [1, 2, 3]}}"
    )
    begun = time.perf_counter()
    found = loaded(body)
    assert found.count == 1_000_000 + 2 * 100_000
    assert len(list(itertools.islice(found.tasks(), 10))) == 10
    assert time.perf_counter() - begun < 20


# --- what cannot be meant -----------------------------------------------------------------

WRONG = {
    "{if: {model: cn}, then: {depth: 2}}": "key 'model': found the text \"cn\", expected one of",
    "{if: {model: vit}, then: {depth: 2}}":
        'key \'model\': no cell of the phase has the text "vit" here; correct or remove the block',
    "{if: {width: [7, 8]}, then: {depth: 2}}":
        "no cell of the phase has the number 7, or any of the 1 others, here",
    "{if: {lr: 5}, then: {depth: 2}}": "key 'lr': no cell of the phase has the number 5.0 here",
    "{if: {modl: cnn}, then: {depth: 2}}": "did you mean 'model'",
    "{if: {model: cnn}, then: {dept: 2}}": "key 'dept': unknown parameter of experiment 'm:f'",
    "{if: {model: cnn}, then: {depth: x}}": 'key \'depth\': found the text "x"',
    "{if: {model: cnn}, then: {depth: []}}": "empty list",
    "{if: {model: cnn}, then: {width: 2}}":
        "key 'width': the phase itself sweeps 'width' (f.yaml:3); give it by blocks of `when`",
    "{if: {lr: 0.1}, then: {lr: 2}}": "key 'lr': is asked for and set by the same block",
    "{if: {model: cnn}, then: {priority: 2}}": "key 'priority': steers the whole phase",
    "{if: {model: cnn}}": "key 'when': found a block without `then`",
    "{then: {depth: 1}}": "found a block without `if`",
    "{if: {model: cnn}, then: {}}": "key 'then': found an empty mapping",
    "{if: {}, then: {depth: 1}}": "key 'if': found an empty mapping",
    "{if: model, then: {depth: 1}}": "key 'if': found the text",
    "{if: {model: cnn}, the: {depth: 1}}": "key 'the': unknown key, expected `if` and `then` (did",
    "cnn": "key 'when': found the text \"cnn\", expected a mapping with `if` and `then`",
    "{if: {model: cnn}, then: {workers: [1, 2]}}": "runtime only",
    "{if: {model: cnn}, then: {depth: [2, 3]}}\n    - {if: {depth: 2}, then: {lr: 2}}\n"
    "    - {if: {model: cnn, depth: 2, lr: 1}, then: {seed: 7}}":
        "key 'lr': no cell of the phase has the number 1.0 here",
    "{if: {model: cnn}, then: {depth: 2}}\n    - {if: {model: lr, depth: 2}, then: {seed: 7}}":
        "key 'when': no cell of the phase has these values together",
}  # fmt: skip


@pytest.mark.parametrize("blocks", WRONG)
def test_a_wrong_block_is_told_with_its_place(blocks: str) -> None:
    with pytest.raises(SweepError) as caught:
        loaded(MODELS + blocks)
    told = caught.value.message.split("\n")
    assert all(each.startswith("f.yaml:") and ": phase 'x', key " in each for each in told)
    assert any(WRONG[blocks] in each for each in told), told


@pytest.mark.parametrize(
    ("body", "part"),
    [
        ("combinations: {model: lr}\n  when: []", "found an empty list"),
        ("combinations: {model: lr}\n  when: 5", "found the number 5"),
        ("include: [{model: lr}]\n  when: {if: {model: lr}, then: {depth: 1}}",
         "found no `combinations` for it"),
    ],
)  # fmt: skip
def test_a_when_of_another_shape_is_told(body: str, part: str) -> None:
    with pytest.raises(SweepError, match=r"f\.yaml:[34]: phase 'x', key 'when': " + part):
        loaded("  " + body)


def test_blocks_that_divide_without_end_are_refused() -> None:
    axes = "".join(f"    - p{n}: [1, 2]\n" for n in range(11))
    blocks = "".join(f"    - {{if: {{p{n}: 1}}, then: {{q{n}: 1}}}}\n" for n in range(11))
    text = f"x:\n  output_dir: r\n  combinations:\n{axes}  when:\n{blocks}"
    with pytest.raises(SweepError, match="more than 1000 parts"):
        load([("f.yaml", text)], lambda _: Experiment("m", (), open_ended=True))


# --- against a naive enumeration ----------------------------------------------------------

NAMES = ("a", "b", "c", "d", "e")
ANY = Experiment("m:any", tuple(Parameter(name, default=0) for name in NAMES))
value = st.sampled_from([0, 1])
some = st.one_of(value, st.lists(value, min_size=1, max_size=2, unique=True))
both = st.just([0, 1, 2])
block = st.fixed_dictionaries(
    {
        "if": st.dictionaries(st.sampled_from("ababcd"), some, min_size=1, max_size=3),
        "then": st.dictionaries(st.sampled_from("cde"), some, min_size=1, max_size=2),
    }
).filter(lambda each: not each["if"].keys() & each["then"].keys())


def listed(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found]


def matches(cell: dict[str, Any], partial: dict[str, Any]) -> bool:
    return all(cell[name] in listed(wanted) for name, wanted in partial.items())


def naive(phase: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every cell, one by one; each block is asked of each cell in turn."""
    swept = phase["combinations"]
    found = [
        {**dict.fromkeys(NAMES, 0), **dict(zip(swept, picked, strict=True))}
        for picked in itertools.product(*map(listed, swept.values()))
    ]
    for each in phase.get("when", []):
        after: dict[str, dict[str, Any]] = {}
        for cell in found:
            then = each["then"] if matches(cell, each["if"]) else {}
            for picked in itertools.product(*map(listed, then.values())):
                made = {**cell, **dict(zip(then, picked, strict=True))}
                after[canonical(made)] = made
        found = list(after.values())
    for cell in found:
        if not any(matches(cell, each) for each in phase.get("exclude", [])):
            yield cell


@settings(deadline=None, max_examples=200)
@example(
    {"a": [0, 1, 2]},
    [
        {"if": {"a": 0}, "then": {"c": [0, 1]}},
        {"if": {"c": 0}, "then": {"d": 0}},
        {"if": {"a": 0}, "then": {"c": 0}},
    ],
    [],
)
@given(
    st.dictionaries(st.sampled_from("ab"), both, min_size=1),
    st.lists(block, min_size=1, max_size=4),
    st.lists(st.dictionaries(st.sampled_from(NAMES), some, min_size=1, max_size=2), max_size=2),
)
def test_the_division_is_that_of_a_naive_enumeration(
    swept: dict[str, Any], blocks: list[dict[str, Any]], exclude: list[dict[str, Any]]
) -> None:
    phase = {
        "output_dir": "r_{c}",
        "combinations": swept,
        "when": blocks,
        **({"exclude": exclude} if exclude else {}),
    }
    text = json.dumps({"defaults": {"experiment": "m:any"}, "x": phase})
    try:
        found = load([("f", text)], lambda _: ANY)
    except SweepError as error:
        known = ("no cell of the phase has", "by the same block", "sets again what")
        assert all(any(each in line for each in known) for line in error.message.split("\n"))
        return
    tasks = list(found.tasks())
    expected = [canonical(each) for each in naive(phase)]
    assert sorted(canonical(each.parameters) for each in tasks) == sorted(expected)
    assert found.count == len(expected)
    assert {each.output_dir for each in tasks} == set(found.output_dirs())
    assert all(each.signature == digest(ANY, each.parameters) for each in tasks)
