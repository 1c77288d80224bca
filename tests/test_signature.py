"""Signatures: the frozen digests, the canonical form as a property, and how code may grow."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlqueue.errors import ExperimentError
from sqlqueue.plan.signature import canonical, digest, reconcile
from sqlqueue.plan.task import REQUIRED, Experiment, Known, Parameter

unhurried = settings(deadline=None)
"""A busy machine is no failure."""

GOLDEN = json.loads((Path(__file__).parent / "golden" / "signatures.json").read_text())
"""Frozen: rows are appended, never edited.  If one fails, the code is wrong."""

LEAST_ROWS = 60
"""How many rows there were when the file was frozen; raise it when rows are appended."""

Json = Any


def experiment(*parameters: Parameter, name: str = "f:train") -> Experiment:
    return Experiment(name, parameters)


# --- frozen ---------------------------------------------------------------------------


@pytest.mark.parametrize("row", GOLDEN["cells"], ids=lambda row: row["what"])
def test_digest_is_what_it_always_was(row: dict[str, Json]) -> None:
    parameters = (Parameter(**each) for each in row["parameters"])
    found = digest(Experiment(row["experiment"], tuple(parameters)), row["cell"])
    assert found == row["signature"]


@pytest.mark.parametrize("row", GOLDEN["poisoning"], ids=lambda row: row["what"])
def test_digest_of_the_built_in_is_what_it_always_was(row: dict[str, Json]) -> None:
    from sqlqueue.experiments.poisoning.declaration import DECLARATION

    assert digest(DECLARATION, row["cell"]) == row["signature"]


def test_no_row_was_taken_out() -> None:
    assert len(GOLDEN["cells"]) + len(GOLDEN["poisoning"]) >= LEAST_ROWS


SAME = [
    ("an integer", "1.0 is 1", "1e0 is 1"),
    ("zero", "-0.0 is 0"),
    ("1e16", "1e16 as integer"),
    ("2**53", "2.0**53"),
    ("nested", "nested, other order"),
    ("three parameters", "other key order"),
    ("a late parameter at another value", "a late parameter whose default changed, left out"),
    ("defaults left out", "defaults spelled out", "one default spelled out",
     "runtime-only left out", "runtime-only given",
     "a late parameter at its first default",
     "a late parameter at its first default, spelled 2.0",
     "a late parameter whose default changed, at the first"),
]  # fmt: skip


def test_rows_that_mean_the_same_cell_and_no_others_share_a_digest() -> None:
    by_what = {row["what"]: row["signature"] for row in GOLDEN["cells"]}
    groups = [{by_what.pop(what) for what in group} for group in SAME]
    assert [len(group) for group in groups] == [1] * len(SAME)
    distinct = [*by_what.values(), *(group.pop() for group in groups)]
    assert len(set(distinct)) == len(distinct)


# --- the canonical form ---------------------------------------------------------------

numbers = st.one_of(
    st.integers(),
    st.integers(-(2**1100), 2**1100),
    st.floats(allow_nan=False, allow_infinity=False),
    st.integers(-(2**60), 2**60).map(float),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=5), st.floats())
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@unhurried
@given(numbers, numbers)
def test_numbers_have_one_form_exactly_when_they_are_equal(a: Any, b: Any) -> None:
    assert (canonical(a) == canonical(b)) == (Fraction(a) == Fraction(b))


@unhurried
@given(st.integers(-(2**53), 2**53))
def test_an_integer_and_its_float_are_one(value: int) -> None:
    assert canonical(value) == canonical(float(value)) == str(value)


def plain(value: Any) -> Any:
    """An equality of its own: kinds tagged, numbers exact, nan equal to itself."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return (type(value).__name__, value)
    if isinstance(value, float) and not math.isfinite(value):
        return ("odd", str(value))
    if isinstance(value, int | float):
        return ("number", Fraction(value))
    if isinstance(value, dict):
        return ("mapping", frozenset((key, plain(each)) for key, each in value.items()))
    return ("list", tuple(map(plain, value)))


@unhurried
@given(values, values)
def test_forms_are_equal_exactly_when_values_are(a: Any, b: Any) -> None:
    assert (canonical(a) == canonical(b)) == (plain(a) == plain(b))


@unhurried
@given(st.dictionaries(st.text(max_size=4), values, max_size=5), st.randoms())
def test_key_order_does_not_count(cell: dict[str, Any], random: Any) -> None:
    shuffled = list(cell.items())
    random.shuffle(shuffled)
    assert canonical(dict(shuffled)) == canonical(cell)


@unhurried
@given(values)
def test_the_form_is_ascii_on_one_line(value: Any) -> None:
    assert canonical(value).isascii()
    assert "\n" not in canonical(value)


def test_what_json_cannot_carry_has_no_form() -> None:
    for value in (object(), b"bytes", {1: 2}, {1, 2}, 1j):
        with pytest.raises(TypeError):
            canonical(value)


# --- the digest -----------------------------------------------------------------------


@unhurried
@given(st.dictionaries(st.sampled_from("abcdef"), values, min_size=1))
def test_the_digest_follows_the_forms(cell: dict[str, Any]) -> None:
    declared = experiment(*(Parameter(name) for name in cell))
    other = {**cell, next(iter(cell)): [cell[next(iter(cell))]]}
    assert digest(declared, cell) == digest(experiment(), cell)
    assert digest(declared, cell) != digest(declared, other)


def test_a_digest_is_32_hexadecimal_digits() -> None:
    assert len(digest(experiment(), {})) == 32
    int(digest(experiment(), {}), 16)


def test_a_parameter_without_a_value_is_an_error() -> None:
    with pytest.raises(ExperimentError, match="'lr' has no value"):
        digest(experiment(Parameter("lr")), {})


def test_names_cannot_run_into_each_other() -> None:
    assert digest(experiment(), {'a":1,"b': 1}) != digest(experiment(), {"a": 1, "b": 1})


# --- code grows -----------------------------------------------------------------------

LR = Parameter("lr", "float", 0.1)
WIDTH = Parameter("width", "int", 4)


def seen(*parameters: Parameter) -> dict[str, Known]:
    """What a home remembers that saw these first."""
    return reconcile(experiment(*parameters), None)[1]


def test_what_was_never_seen_is_original() -> None:
    found, memory, notes = reconcile(experiment(LR, WIDTH), None)
    assert found == experiment(LR, WIDTH)
    assert memory == {"lr": Known(True, REQUIRED, 0.1), "width": Known(True, REQUIRED, 4)}
    assert notes == []


def test_a_late_parameter_keeps_older_signatures_while_it_has_its_first_default() -> None:
    old = digest(experiment(LR), {})
    found, memory, notes = reconcile(experiment(LR, WIDTH), seen(LR))
    assert digest(found, {}) == digest(found, {"width": 4}) == old
    assert digest(found, {"width": 8}) != old
    assert memory["width"] == Known(False, 4, 4)
    assert notes == []


def test_reconciling_again_changes_nothing() -> None:
    first, memory, _ = reconcile(experiment(LR, WIDTH), seen(LR))
    again, memory_again, notes = reconcile(experiment(LR, WIDTH), memory)
    assert (again, memory_again, notes) == (first, memory, [])


def test_a_new_parameter_without_a_default_always_counts_and_is_told() -> None:
    found, memory, notes = reconcile(experiment(LR, Parameter("width", "int")), seen(LR))
    assert digest(found, {"width": 4}) != digest(experiment(LR), {})
    assert memory["width"] == Known(False, REQUIRED, REQUIRED)
    assert notes == ["`width` is new and has no default: every cell is another cell now"]


def test_a_changed_default_makes_other_cells_and_is_told() -> None:
    changed = Parameter("lr", "float", 0.2)
    found, memory, notes = reconcile(experiment(changed), seen(LR))
    assert digest(found, {}) != digest(experiment(LR), {})
    assert digest(found, {"lr": 0.1}) == digest(experiment(LR), {})
    assert notes == [
        "default of `lr` changed from 0.1 to 0.2: cells that leave it out are other cells now"
    ]
    assert reconcile(experiment(changed), memory)[2] == []


def test_a_default_spelled_otherwise_has_not_changed() -> None:
    assert reconcile(experiment(Parameter("width", "int", 4.0)), seen(WIDTH))[2] == []


def test_a_changed_default_of_a_late_parameter_still_measures_against_the_first() -> None:
    _, memory, _ = reconcile(experiment(LR, WIDTH), seen(LR))
    wider = Parameter("width", "int", 8)
    found, memory, notes = reconcile(experiment(LR, wider), memory)
    assert digest(found, {"width": 4}) == digest(experiment(LR), {})
    assert digest(found, {}) != digest(experiment(LR), {})
    assert memory["width"] == Known(False, 4, 8)
    assert len(notes) == 1


def test_a_parameter_that_is_gone_is_told_once_and_remembered() -> None:
    _, memory, notes = reconcile(experiment(LR), seen(LR, WIDTH))
    assert notes == ["`width` is gone: cells that had it are other cells now"]
    _, memory, notes = reconcile(experiment(LR), memory)
    assert notes == []
    back, _, notes = reconcile(experiment(LR, WIDTH), memory)
    assert digest(back, {}) == digest(experiment(LR, WIDTH), {})
    assert notes == []


def test_runtime_only_parameters_are_not_remembered() -> None:
    workers = Parameter("workers", "int", 0, runtime_only=True)
    assert set(seen(LR, workers)) == {"lr"}
    counting = Parameter("workers", "int", 0)
    found, _, _ = reconcile(experiment(LR, counting), seen(LR, workers))
    assert digest(found, {}) == digest(experiment(LR), {})
    _, _, notes = reconcile(experiment(LR, workers), seen(LR, counting))
    assert notes == [
        "`workers` is runtime only now: cells that differed by it alone are one cell now"
    ]


def test_what_a_declaration_says_of_a_late_parameter_holds_in_every_home() -> None:
    late = Parameter("width", "int", 8, original=False, first_default=4)
    for known in (None, {}, seen(LR), seen(LR, WIDTH)):
        found, memory, _ = reconcile(experiment(LR, late), known)
        assert digest(found, {"width": 4}) == digest(reconcile(experiment(LR), known)[0], {})
        assert memory["width"] == Known(False, 4, 8)
