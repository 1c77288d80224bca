"""Parameters that are mappings: dotted names, one cell for both spellings, a column for each
entry, and the mapping put together again for the experiment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlqueue.errors import SweepError
from sqlqueue.experiments import Run, declare
from sqlqueue.experiments import load as load_experiment
from sqlqueue.plan import nested
from sqlqueue.plan.reading_back import Torn, whole
from sqlqueue.plan.rows import cell
from sqlqueue.plan.signature import canonical, digest
from sqlqueue.plan.sweep import Sweep, load
from sqlqueue.plan.task import Experiment, Parameter

unhurried = settings(deadline=None)

DECLARED = Experiment(
    "m:f",
    (
        Parameter("model", "str", "lr"),
        Parameter("optimizer", default=None, optional=True),
        Parameter("data", default={"name": "digits", "crop": {"size": 8}}),
        Parameter("seed", "int", 42),
        Parameter("io", default=None, runtime_only=True),
    ),
)
OPEN = Experiment("m:open", (Parameter("seed", "int", 1),), open_ended=True)


def loaded(body: str, top: str = "", experiment: Experiment = DECLARED) -> Sweep:
    text = f"defaults: {{output_dir: r{top}}}\nx:\n  experiment: m\n{body}\n"
    return load([("f.yaml", text)], lambda _: experiment)


def cells(found: Sweep) -> list[dict[str, Any]]:
    made = [dict(task.parameters) for task in found.tasks()]
    assert len(made) == found.count
    for task in found.tasks():
        assert task.signature == digest(found.experiments["m"], task.parameters)
    return made


def given_cells(found: Sweep) -> list[dict[str, Any]]:
    own = {"model": "lr", "data.name": "digits", "data.crop.size": 8, "seed": 42, "io": None}
    return [
        {name: value for name, value in each.items() if name not in own or own[name] != value}
        for each in cells(found)
    ]


ADAM = ", optimizer: {name: adam, lr: 0.1}"


def test_a_dotted_name_sets_one_entry() -> None:
    found = loaded("  combinations: {optimizer.lr: [0.1, 0.01]}", ADAM)
    assert given_cells(found) == [
        {"optimizer.name": "adam", "optimizer.lr": 0.1},
        {"optimizer.name": "adam", "optimizer.lr": 0.01},
    ]
    assert list(cells(found)[0]) == [
        "model", "optimizer.name", "optimizer.lr", "data.name", "data.crop.size", "seed", "io",
    ]  # fmt: skip


def test_both_spellings_are_one_cell_with_the_signature_of_the_mapping() -> None:
    dotted = loaded("  combinations: {optimizer.lr: 0.5, optimizer.name: sgd}")
    written = loaded("  combinations: {optimizer: {name: sgd, lr: 0.5}}")
    listed = loaded("  combinations: {optimizer: [{lr: 0.5, name: sgd}]}")
    mapping = {"optimizer": {"name": "sgd", "lr": 0.5}}
    expected = digest(Experiment("m:f", DECLARED.parameters), mapping)
    for found in (dotted, written, listed):
        assert [task.signature for task in found.tasks()] == [expected]
    assert expected == "61b4d2d77f7d5531dba038caa6747030"


@pytest.mark.parametrize(
    ("body", "top", "expected"),
    [
        ("combinations: {optimizer: {name: sgd}}", ADAM, [{"optimizer.name": "sgd"}]),
        ("combinations: {optimizer.lr: 1, model: cnn}\n  defaults: {optimizer.name: sgd}", ADAM,
         [{"model": "cnn", "optimizer.name": "sgd", "optimizer.lr": 1}]),
        ("combinations: {optimizer.lr: 1}", "", [{"optimizer.lr": 1}]),
        ("combinations: {optimizer: null, model: [a, b]}", ADAM,
         [{"model": "a", "optimizer": None}, {"model": "b", "optimizer": None}]),
        ("combinations: {optimizer: {}, optimizer.lr: 1}", "", None),
        ("combinations: {optimizer: [sgd, {name: adam, lr: 1}]}", ADAM,
         [{"optimizer": "sgd"}, {"optimizer.name": "adam", "optimizer.lr": 1}]),
        ("combinations: {optimizer: [{name: sgd}, {name: adam, b: 1}], optimizer.lr: [1, 2]}", "",
         [{"optimizer.name": "sgd", "optimizer.lr": 1}, {"optimizer.name": "sgd",
          "optimizer.lr": 2}, {"optimizer.name": "adam", "optimizer.b": 1, "optimizer.lr": 1},
          {"optimizer.name": "adam", "optimizer.b": 1, "optimizer.lr": 2}]),
        ("combinations: {data.crop.size: [9, 10]}", "",
         [{"data.crop.size": 9, "optimizer": None}, {"data.crop.size": 10, "optimizer": None}]),
        ("combinations: {data.crop: {at: 1}}", "",
         [{"data.crop.at": 1, "optimizer": None}]),
        ("combinations: {optimizer: {'a.b': 1, c: 2}}", "", [{"optimizer": {"a.b": 1, "c": 2}}]),
        ("combinations: {seed: [1, 2], optimizer: [{a: 1}, {a: 2, b: 3}]}\n"
         "  zip: [seed, optimizer]", "",
         [{"seed": 1, "optimizer.a": 1}, {"seed": 2, "optimizer.a": 2, "optimizer.b": 3}]),
        ("zip: {optimizer.lr: range(2), optimizer.name: [a, b]}", "",
         [{"optimizer.lr": 0, "optimizer.name": "a"}, {"optimizer.lr": 1, "optimizer.name": "b"}]),
        ("combinations: {optimizer.lr: [1, 2]}\n  include: [{optimizer.lr: 3},"
         " {optimizer: {lr: 4}}]", ADAM,
         [{"optimizer.name": "adam", "optimizer.lr": 1},
          {"optimizer.name": "adam", "optimizer.lr": 2},
          {"optimizer.name": "adam", "optimizer.lr": 3}, {"optimizer.lr": 4}]),
        ("combinations: {optimizer.lr: [1, 2]}\n  exclude: [{optimizer.lr: 2}]", ADAM,
         [{"optimizer.name": "adam", "optimizer.lr": 1}]),
        ("combinations: {optimizer: [{a: 1}, {a: 1, b: 2}, {a: 3}]}\n"
         "  exclude: [{optimizer: [{a: 1}, {a: 9}]}]", "",
         [{"optimizer.a": 1, "optimizer.b": 2}, {"optimizer.a": 3}]),
        ("combinations: {optimizer: [{a: 1}, {b: 2}]}\n  exclude: [{optimizer.a: 1}]", "",
         [{"optimizer.b": 2}]),
        ("combinations: {optimizer.name: [sgd, adam]}\n"
         "  when: {if: {optimizer.name: adam}, then: {optimizer.beta: [1, 2]}}", "",
         [{"optimizer.name": "sgd"}, {"optimizer.name": "adam", "optimizer.beta": 1},
          {"optimizer.name": "adam", "optimizer.beta": 2}]),
        ("combinations: {model: [a, b]}\n"
         "  when: {if: {model: b}, then: {optimizer: {name: sgd}}}", ADAM,
         [{"model": "a", "optimizer.name": "adam", "optimizer.lr": 0.1},
          {"model": "b", "optimizer.name": "sgd"}]),
    ],
)  # fmt: skip
def test_what_the_entries_are(body: str, top: str, expected: list[dict[str, Any]] | None) -> None:
    if expected is None:
        with pytest.raises(SweepError, match="found twice"):
            loaded("  " + body, top)
    else:
        assert given_cells(loaded("  " + body, top)) == expected


def test_entries_of_what_is_runtime_only_do_not_count() -> None:
    one = next(loaded("  combinations: {io.workers: 1}").tasks())
    other = next(loaded("  combinations: {io: {workers: 2, pin: true}}").tasks())
    assert one.signature == other.signature
    assert other.runtime_only == ("io.workers", "io.pin")


def test_a_directory_may_be_named_by_an_entry() -> None:
    body = "  output_dir: 'r_{optimizer.lr}'\n  combinations: {optimizer.lr: [0.1, 1e-5]}"
    assert loaded(body).output_dirs() == ["r_0.1", "r_1e-5"]


def test_where_nobody_declares_it_a_dotted_name_is_a_name() -> None:
    found = cells(loaded("  combinations: {a.b: [1], c: {d: 2}}", experiment=OPEN))
    assert found == [{"seed": 1, "a.b": 1, "c": {"d": 2}}]
    frozen = Experiment("m", (Parameter("seed"), Parameter("a.b"), Parameter("c")))
    assert digest(OPEN, found[0]) == digest(
        Experiment("m:open", frozen.parameters), {"seed": 1, "a.b": 1, "c": {"d": 2}}
    )


WRONG = {
    "combinations: {optimizer: adam, optimizer.lr: 1}":
        "f.yaml:4: phase 'x', key 'optimizer.lr': found twice: 'optimizer' in f.yaml:4 gives it",
    "combinations: {optimizer.lr: 1, optimizer: adam}":
        "key 'optimizer': found twice: 'optimizer.lr' in f.yaml:4",
    "combinations:\n    optimizer.lr: [1, 2]\n    optimizer: [{lr: 3}]":
        "f.yaml:6: phase 'x', key 'optimizer': found twice: 'optimizer.lr' in f.yaml:5",
    "combinations: {optimizer.lr: 1}\n  defaults: {optimizer: adam}":
        "f.yaml:4: phase 'x', key 'optimizer.lr': is an entry of 'optimizer', which is no mapping "
        "in f.yaml:5; remove one of the two",
    "combinations: {seed.x: 1}": "key 'seed.x': 'seed' takes an integer, which has no entries",
    "combinations: {optimzer.lr: 1}": "(did you mean 'optimizer'?)",
    "combinations: {optimizer..lr: 1}": "expected a name on each side of a dot",
    "combinations: {optimizer.: 1}": "expected a name on each side of a dot",
    "combinations: {optimizer.lr: [1, 2]}\n  exclude: [{optimizer.l: 1}]":
        "key 'optimizer.l': no cell of the phase has this key (did you mean 'optimizer.lr'?)",
    "combinations: {optimizer.lr: [1, 2]}\n  when: {if: {optimizer: {lr: 1}}, then: {seed: 1}}":
        "key 'optimizer': found the whole of 'optimizer', expected an entry of it, such as 'optim",
    "combinations: {optimizer: [{a: 1}, {b: 1}]}\n  output_dir: 'r_{optimizer.a}'":
        "output_dir names 'optimizer.a', which not every cell has",
    "combinations: {optimizer.lr: 1}\n  output_dir: 'r_{optimizer}'":
        "a mapping; name an entry of it: {optimizer.lr}",
    "combinations: {optimizer.lr: [1, 2]}\n  include: [{seed: 1}]":
        "found a cell without 'optimizer.lr', which the phase sweeps",
    "combinations: {io.workers: [1, 2]}": "key 'io.workers': is runtime only",
    "combinations: {data.name.x: 1}":
        "is an entry of 'data.name', which is no mapping by the experiment's own default",
}  # fmt: skip


@pytest.mark.parametrize("body", WRONG)
def test_what_cannot_be_meant_is_told_with_both_places(body: str) -> None:
    with pytest.raises(SweepError) as caught:
        loaded("  " + body)
    assert WRONG[body] in caught.value.message
    assert len(caught.value.message.split("\n")) == 1


def test_a_clash_within_defaults_names_both_lines() -> None:
    text = "defaults:\n  output_dir: r\n  optimizer: {lr: 1}\n  optimizer.lr: 2\n"
    text += "x: {combinations: {seed: 1}}\n"
    with pytest.raises(SweepError, match=r"f\.yaml:4: .*found twice: 'optimizer' in f\.yaml:3"):
        load([("f.yaml", text)], lambda _: DECLARED)


# --- taken apart and put together -------------------------------------------------------

keys = st.text("ab.\n", max_size=2)
entries = st.recursive(
    st.sampled_from([1, None, "x", [], {}]), lambda inner: st.dictionaries(keys, inner, max_size=3)
)


@unhurried
@given(st.dictionaries(st.sampled_from(["p", "q"]), entries))
def test_put_together_again_it_is_what_it_was(mapping: dict[str, Any]) -> None:
    flat = {name: each for key, value in mapping.items() for name, each in
            nested.leaves(key, value).items()}  # fmt: skip
    assert nested.nest(flat, {"p", "q"}) == mapping


@unhurried
@given(st.lists(entries, min_size=1, max_size=4))
def test_any_mappings_swept_are_their_cells(values: list[Any]) -> None:
    text = json.dumps({"x": {"output_dir": "r", "combinations": {"optimizer": values}}})
    found = load([("f", text)], lambda _: DECLARED)
    made = [nested.nest(task.parameters, {"optimizer"})["optimizer"] for task in found.tasks()]
    expected = dict.fromkeys(map(canonical, values))
    assert [canonical(each) for each in made] == list(expected)
    assert [task.signature for task in found.tasks()] == [
        digest(DECLARED, {"optimizer": json.loads(each)}) for each in expected
    ]
    assert found.count == len(expected)


def test_the_experiment_gets_a_mapping(tmp_path: Path) -> None:
    (tmp_path / "nested_train.py").write_text(
        "def main(optimizer: dict, seed=1, **more):\n    return {'got': [optimizer, seed, more]}\n"
    )
    declared = declare("nested_train:main", tmp_path)
    call = load_experiment("nested_train:main", tmp_path)
    run = Run(tmp_path, "cpu", 0, lambda *_: None, lambda: False)
    found = loaded("  combinations: {optimizer: {name: sgd, a: {b: 1}}, c.d: 2}",
                   experiment=Experiment("m", declared.parameters, open_ended=True))  # fmt: skip
    assert call(cells(found)[0], run) == {"got": [{"name": "sgd", "a": {"b": 1}}, 1, {"c.d": 2}]}


# --- rows that were written before ------------------------------------------------------


def test_a_mapping_in_one_cell_of_an_older_row_is_read_back() -> None:
    parameters = {"optimizer.name": "adam", "optimizer.lr": 0.1, "seed": 1, "a.b": 2}
    old = {"lr": 0.10, "name": "adam"}
    assert whole({"optimizer": cell(old), "seed": "1"}, parameters) == {"optimizer": old}
    assert whole({"optimizer.lr": "0.1"}, parameters) == {}
    assert whole({"optimizer": "adam"}, parameters) == {}
    with pytest.raises(Torn, match="column optimizer is"):
        whole({"optimizer": cell({"lr": 0.2, "name": "adam"})}, parameters)
