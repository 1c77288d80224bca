"""Which task a row of an old CSV is of: what texts mean, what columns are, what fits.

The property that matters: whatever the spelling, rows made from tasks come back as exactly those,
and no row ever as another.  What is not here: files and the command (`test_import.py`).
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlqueue.errors import UsageError
from sqlqueue.plan.catalogue import Catalogue, Values
from sqlqueue.plan.fitting import Fit, Fitting, Kind
from sqlqueue.plan.layout import Layout, Wish, layout, recognised, refuse_unused
from sqlqueue.plan.repeats import Place, Repeats
from sqlqueue.plan.signature import canonical
from sqlqueue.plan.spelling import alike, metric

Cell = Mapping[str, Any]


def catalogue(*cells: Cell, hidden: Sequence[str] = (), experiment: str = "m:f") -> Catalogue:
    """The tasks that those cells are."""
    found = Catalogue()
    for number, each in enumerate(cells):
        add(found, each, number, hidden, experiment)
    return found


def add(
    found: Catalogue, cell: Cell, number: int, hidden: Sequence[str] = (), experiment: str = "m:f"
) -> None:
    found.add(f"{number:032x}", f"p_{number}", "p", experiment, cell, list(hidden), False)


def columns(tasks: Catalogue, *header: str, **wish: Any) -> Layout:
    return layout(header, tasks.names, tasks.hidden, Wish(**wish))


def fit(tasks: Catalogue, row: Mapping[str, str], **options: Any) -> Fit:
    """What becomes of one row, in a file that has its columns and a result."""
    found = columns(tasks, *row, "acc")
    return Fitting(tasks, found, **options).fit([*row.values(), "0.5"])


GRID = [
    {"seed": seed, "width_factor": width, "lr": lr, "poison": None, "workers": 3}
    for seed, width, lr in itertools.product([1, 2], [1, 4, 16], [0.1, 5e-4])
]


@pytest.fixture
def grid() -> Catalogue:
    return catalogue(*GRID, hidden=["workers"])


# --- what texts mean ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("64", 64), (" 64 ", 64), ("+64", 64), ("4.0", 4.0), ("5e-4", 5e-4), ("1E5", 1e5),
        (".5", 0.5), ("3.", 3.0), ("0.30000000000000004", 0.1 + 0.2), ("-inf", -math.inf),
        ("Infinity", math.inf), ("TRUE", True), ("false", False), ("", None), ("  ", None),
        ("007", "007"), ("1_000", "1_000"), ("1e999", "1e999"), ("1e-999", "1e-999"),
        ("12:30", "12:30"), ("None", "None"), (" a b ", " a b "), ("0x1f", "0x1f"), ("١", "١"),
        ("0,5", "0,5"), ("9" * 5000, "9" * 5000), ("-0", -0.0), ("--1", "--1"), ("1e", "1e"),
    ],
)  # fmt: skip
def test_a_metric_is_what_people_see_in_it(text: str, value: object) -> None:
    assert repr(metric(text)) == repr(value)


def test_nan_is_a_result_and_a_decimal_comma_is_one_where_semicolons_separate() -> None:
    assert all(math.isnan(metric(each)) for each in ("nan", "NaN", "-nan", ".NaN"))  # type: ignore[arg-type]
    assert metric("-0,5e-3", comma=True) == -0.5e-3


@given(st.floats(allow_nan=False))
def test_a_float_comes_back_bit_for_bit(number: float) -> None:
    for text in (repr(number), f"{number:.17g}", f"{number:.20e}"):
        assert repr(float(metric(text))) == repr(number)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "text", "meant"),
    [
        ([1, 4], "4.0", [1]), ([0.1], "0.10000000000000001", [0]),
        ([0.3], "0.30000000000000004", []),
        ([True, 1], "1", [1]), ([True, 1], "true", [0]), (["True", True], "True", [0, 1]),
        (["64", 64], "64", [0, 1]), (["64"], "64.0", []), ([None, 1], "", [0]),
        ([None], "None", [0]),
        (["none", None], "none", [0]), (["", None], "", [0, 1]), (["cnn"], " cnn ", [0]),
        (["cnn"], "CNN", []), ([[1, 2]], "(1, 2)", [0]), ([["a"]], "['a']", [0]),
        ([{"a": 1}], '{"a": 1.0}', [0]), ([math.nan, 1.0], "NaN", [0]), ([math.inf], "inf", [0]),
        ([2**60 + 1], str(2**60), []), ([1], "{1: [}", []),
    ],
)  # fmt: skip
def test_a_parameter_is_the_value_that_a_task_has(
    values: list[Any], text: str, meant: list[int]
) -> None:
    known = Values()
    for each in values:
        known.intern(each)
    assert sorted(known.meant(text)) == meant


def test_a_tolerance_takes_the_nearest_numbers_and_only_where_none_is_equal() -> None:
    known = Values()
    for each in (0.1, 0.1000001, 1.0, True):
        known.intern(each)
    assert known.meant("0.1", tolerance=1e-3) == (0,)
    assert sorted(known.meant("0.10000005", tolerance=1e-3)) == [0, 1]
    assert known.meant("0.10000005") == ()
    assert known.meant("0.9999", tolerance=1e-3) == (2,)


def test_two_whole_numbers_are_two_whatever_the_tolerance(grid: Catalogue) -> None:
    known = Values()
    known.intern(1_000_000)
    assert known.meant("1000001", tolerance=0.5) == known.meant("1000001.0", tolerance=0.5) == ()
    assert known.meant("999999.9999", tolerance=1e-6) == (0,)
    assert "--tolerance" not in fit(catalogue({"seed": 2024001}), {"seed": "2024002"}).why
    assert fit(grid, {"seed": "3"}).why == "seed is 3; tasks have 1, 2"


@pytest.mark.parametrize("name", ["width-factor", "Width Factor", "WIDTH_FACTOR", "widthFactor"])
def test_names_are_alike_without_trivial_differences(name: str) -> None:
    assert alike(name) == alike("width_factor")
    assert alike("T") != alike("t")


# --- what columns are -----------------------------------------------------------------------


def test_columns_are_parameters_results_or_of_no_concern(grid: Catalogue) -> None:
    found = columns(
        grid, "", "phase", "task_id", "signature", "Width Factor", "lr", "workers", "acc", "note",
        ignored=["note"],
    )  # fmt: skip
    assert found.parameters == {4: "width_factor", 5: "lr"}
    assert (found.metrics, found.signature) == ({7: "acc"}, 3)
    assert set(found.ignored) == {"(no name)", "phase", "task_id", "workers", "note"}
    assert found.otherwise() == {"Width Factor": "width_factor"}


def test_a_column_may_be_given_another_name(grid: Catalogue) -> None:
    found = columns(grid, "w", "lr", renames={"w": "width_factor", "lr": "best_lr"})
    assert (found.parameters, found.metrics) == ({0: "width_factor"}, {1: "best_lr"})


@pytest.mark.parametrize(
    ("header", "wrong"),
    [
        (["lr", "LR", "acc"], "both look like the parameter 'lr'"),
        (["lr", "acc", "acc"], "two columns are called 'acc'"),
        (["widht_facto", "acc"], "is a parameter of a task (did you mean 'width_factor'?)"),
        (["lr", "seed"], "no column holds a result"),
    ],
)
def test_a_header_that_cannot_be_meant_is_refused(
    grid: Catalogue, header: list[str], wrong: str
) -> None:
    with pytest.raises(UsageError) as refused:
        columns(grid, *header)
    assert wrong in refused.value.message


def test_a_column_that_no_file_has_cannot_be_named(grid: Catalogue) -> None:
    refuse_unused(Wish({"w": "width_factor"}, ["acc"]), [["w", "acc"]])
    for wish in (Wish({"v": "lr"}), Wish({}, ["adc"])):
        with pytest.raises(UsageError, match="no file has a column"):
            refuse_unused(wish, [["w", "acc"]])
    assert recognised(["Seed", "lr", "acc", "phase"], grid.names, Wish()) == 3


# --- what fits ------------------------------------------------------------------------------


def test_what_the_file_does_not_have_is_as_in_the_task(grid: Catalogue) -> None:
    found = fit(grid, {"lr": "5e-4", "Width Factor": "4.0", "seed": " 2 "})
    assert found.task == GRID.index({**GRID[0], "seed": 2, "width_factor": 4, "lr": 5e-4})
    assert grid.left_out(["lr", "width_factor", "seed"]) == {"poison": [None]}


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999"])
def test_nothing_is_near_to_what_is_no_number(grid: Catalogue, text: str) -> None:
    found = fit(grid, {"lr": text, "width_factor": "4", "seed": "1"}, tolerance=0.5)
    assert (found.task, found.kind) == (None, Kind.UNMATCHED)
    assert "tolerance" not in found.why


def test_several_tasks_are_ambiguous_and_told_apart(grid: Catalogue) -> None:
    found = fit(grid, {"seed": "1", "width_factor": "4"})
    assert (found.task, found.kind) == (None, Kind.AMBIGUOUS)
    assert found.why == "2 tasks fit; what tells them apart: lr (0.1, 0.0005)"
    assert found.about == "p_2, p_3"


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"width_factor": "32", "seed": "1"}, "width_factor is 32; tasks have 1, 4, 16"),
        ({"seed": "1", "lr": "0.10000001"}, "--tolerance 0.0001 takes it for 0.1"),
        ({"seed": "1", "poison": "x"}, "poison is x; tasks have nothing"),
        ({"seed": "", "lr": "0.1"}, "seed is empty; tasks have 1, 2"),
    ],
)
def test_a_value_that_no_task_has_is_named(grid: Catalogue, row: dict[str, str], why: str) -> None:
    found = fit(grid, row)
    assert (found.task, found.kind) == (None, Kind.UNMATCHED)
    assert why in found.why


def test_a_combination_that_no_task_has_names_the_nearest() -> None:
    found = fit(
        catalogue(*GRID[:-1]), {k: str(GRID[-1][k]) for k in ("seed", "width_factor", "lr")}
    )
    assert found.kind is Kind.UNMATCHED
    assert "the nearest is p_" in found.why
    assert " there " in found.why


def test_a_parameter_that_a_task_has_not_must_be_empty() -> None:
    """As where `when` gives some cells alone a value, or another experiment has others."""
    tasks = catalogue({"seed": 1, "kind": "a"}, {"seed": 1, "kind": "b", "rate": 0.5})
    assert fit(tasks, {"seed": "1", "kind": "a", "rate": ""}).task == 0
    assert fit(tasks, {"seed": "1", "kind": "b", "rate": "0.5"}).task == 1
    assert fit(tasks, {"seed": "1", "kind": "a", "rate": "0.5"}).task is None
    assert fit(tasks, {"seed": "1", "kind": "b", "rate": ""}).task is None


def test_two_experiments_of_the_same_parameters_are_ambiguous() -> None:
    tasks = catalogue({"seed": 1})
    add(tasks, {"seed": 1}, 1, experiment="m:g")
    assert 'experiment ("m:f", "m:g")' in fit(tasks, {"seed": "1"}).why
    add(tasks, {}, 2, experiment="found in a CSV")
    assert fit(tasks, {"seed": "2"}).kind is Kind.UNMATCHED, "nothing is said of that one"


def test_a_mapping_and_its_entries_are_one() -> None:
    tasks = catalogue(
        {"optimizer.name": "sgd", "optimizer.lr": 0.1},
        {"optimizer.name": "adam", "optimizer.lr": 0.1},
    )
    assert fit(tasks, {"optimizer": '{"lr": 0.1, "name": "adam"}'}).task == 1
    assert fit(tasks, {"optimizer.name": "sgd"}).task == 0
    whole = catalogue({"optimizer": {"lr": 0.1}}, {"optimizer": {"lr": 0.2}})
    assert fit(whole, {"optimizer.lr": "0.2"}).task == 1


def test_a_signature_is_proof_unless_a_cell_contradicts_it(grid: Catalogue) -> None:
    signed = {"signature": f"{5:032x}"}
    assert fit(grid, signed | {"lr": "5e-4"}).task == 5
    assert fit(grid, signed | {"lr": "", "workers": "9"}).task == 5, "older than the parameter"
    found = fit(grid, signed | {"lr": "0.1"})
    assert (found.kind, found.about) == (Kind.CONTRADICTORY, "p_5")
    assert "which has lr = 0.0005; the row says 0.1" in found.why
    other = {"signature": "f" * 32, "seed": "1", "width_factor": "1", "lr": "0.1"}
    assert fit(grid, other).task == 0, "of another queue: the values tell"
    assert fit(grid, {"signature": "f" * 32}).why == "its signature is not of this queue"


def test_what_is_a_parameter_elsewhere_may_have_been_measured_here() -> None:
    tasks = catalogue({"seed": 1})
    add(tasks, {"seed": 1, "lr": 0.1}, 1, experiment="m:g")
    found = columns(tasks, "signature", "seed", "lr", "acc")
    rows = Fitting(tasks, found)
    cells = [f"{0:032x}", "1", "0.25", "0.5"]
    assert rows.fit(cells).task == 0
    assert rows.metrics(cells, 0) == {"lr": 0.25, "acc": 0.5}
    assert rows.metrics(cells, 1) == {"acc": 0.5}


# --- rows against each other ------------------------------------------------------------------


def test_of_equal_rows_the_first_counts_and_of_contradicting_ones_none() -> None:
    rows = Repeats(2)
    for task, line, value in ((0, 2, math.nan), (0, 3, math.nan), (1, 4, 0.5), (1, 5, 0.25)):
        rows.learn(task, Place(0, line), {"acc": value})
    assert [rows.judge(0, Place(0, line)) for line in (2, 3)] == [
        (Kind.ADOPTED, Place(0, 2)), (Kind.DUPLICATE, Place(0, 2))
    ]  # fmt: skip
    assert [rows.judge(1, Place(0, line)) for line in (4, 5)] == [
        (Kind.CONTRADICTORY, Place(0, 5)), (Kind.CONTRADICTORY, Place(0, 4))
    ]  # fmt: skip


# --- the property -----------------------------------------------------------------------------

NAMES = ["seed", "width_factor", "lr", "model_type", "flag", "poison", "sizes"]
VALUES: list[Any] = [
    0, 1, 4, 64, 2**60, -3, 0.1, 0.1 + 0.2, 0.3, 5e-4, 1e22, 100.0, 1e-7, True, False, None,
    "cnn", "lr", "a b", "a,b", 'x"y', "é", [1, 2], [], ["a"], {"k": 1}, "none", "64", "True",
    math.nan, math.inf,
]  # fmt: skip
"""Some of them are spelled alike: texts and what they look like."""


def spellings(value: Any) -> list[str]:
    """The ways in which somebody may have written a value down."""
    if value is None:
        return ["", " ", "None"]
    if isinstance(value, bool):
        return [str(value), str(value).lower(), str(value).upper(), f" {value}"]
    if isinstance(value, int):
        exact = [f"{value}.0", f"{value:.1f}", f" {value} "] if abs(value) < 2**53 else []
        return [str(value), *exact, *([f"+{value}"] if value >= 0 else [])]
    if isinstance(value, float):
        whole = [str(int(value))] if value.is_integer() and abs(value) < 2**53 else []
        return [repr(value), f"{value:.17g}", f"{value:.19e}", f" {value!r}\t", *whole]
    if isinstance(value, list | dict):
        return [json.dumps(value), str(value), json.dumps(value, separators=(",", ":"))]
    return [value, f" {value} "]


CLEAR: list[Any] = [
    0, 1, 4, 2**60, -3, 0.1, 0.1 + 0.2, 0.3, 5e-4, 1e22, 100.0, 1e-7, False, None, "cnn", "a b",
    "a,b", "é", [1, 2], {"k": 1}, math.nan, math.inf,
]  # fmt: skip
"""No two of them are."""


@st.composite
def sweeps(draw: st.DrawFn, values: list[Any]) -> list[dict[str, Any]]:
    """The cells of a grid, in any order, some of them left out."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True))
    lists = st.lists(st.sampled_from(values), min_size=1, max_size=4, unique_by=canonical)
    grid = itertools.product(*[draw(lists) for _ in names])
    cells = [dict(zip(names, each, strict=True)) for each in grid]
    return draw(st.permutations(cells))[: draw(st.integers(1, len(cells)))]


def twins(cells: Sequence[Cell], cell: Cell, names: Sequence[str]) -> int:
    """How many cells have what it has under those names."""
    return sum(all(canonical(e[n]) == canonical(cell[n]) for n in names) for e in cells)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_rows_come_back_as_the_tasks_that_they_were_made_from(data: st.DataObject) -> None:
    """With some of the columns, in any order, by any spelling; else they are ambiguous."""
    is_clear = data.draw(st.booleans())
    cells = data.draw(sweeps(CLEAR if is_clear else VALUES))
    tasks = catalogue(*cells)
    names = data.draw(st.permutations(list(cells[0])))
    kept = names[: data.draw(st.integers(1, len(names)))]
    header = [data.draw(st.sampled_from([each, each.upper(), f" {each} "])) for each in kept]
    rows = Fitting(tasks, columns(tasks, *header, "acc"))
    for number, cell in enumerate(cells):
        row = [data.draw(st.sampled_from(spellings(cell[name]))) for name in kept]
        found = rows.fit([*row, "0.5"])
        if twins(cells, cell, kept) > 1 or found.task is None:
            assert found.kind is Kind.AMBIGUOUS, (row, cells)
            assert twins(cells, cell, kept) > 1 or not is_clear, (row, cells)
        else:
            assert found.task == number, (row, cells)


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_a_row_of_a_cell_that_is_no_task_is_never_taken_for_one(data: st.DataObject) -> None:
    """Every cell has a row; only the first ones are tasks."""
    cells = data.draw(sweeps(CLEAR))
    there = data.draw(st.integers(1, len(cells)))
    tasks = catalogue(*cells[:there])
    rows = Fitting(tasks, columns(tasks, *cells[0], "acc"))
    for number, cell in enumerate(cells):
        row = [data.draw(st.sampled_from(spellings(each))) for each in cell.values()]
        found = rows.fit([*row, "nan"])
        assert found.task == (number if number < there else None), (row, cells[:there])
        assert number < there or found.kind is Kind.UNMATCHED
