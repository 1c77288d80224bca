"""Single values on their way from the file: YAML scalars, kinds, folder names, durations."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sqlqueue.plan import template
from sqlqueue.plan.scalars import Unclear, resolve
from sqlqueue.plan.sweep import load
from sqlqueue.plan.task import Experiment, Parameter
from sqlqueue.plan.template import TemplateError, folder_text
from sqlqueue.plan.tree import TextError, plain
from sqlqueue.plan.values import Mismatch, bring
from sqlqueue.plan.yaml_text import MAX_DEPTH, parse

unhurried = settings(deadline=None)
"""A busy machine is no failure."""

# --- plain scalars --------------------------------------------------------------------

RESOLVED = {
    "1": 1, "-7": -7, "+7": 7, "0": 0, "-0": 0, "0x1F": 31, "0o17": 15, "1e5": 1e5, "5e-4": 5e-4,
    "1e-3": 1e-3, "1E3": 1e3, "-1.5": -1.5, ".5": 0.5, "1.": 1.0, "+.5e1": 5.0, "0.0": 0.0,
    "0e5": 0.0, "00.5": 0.5, ".inf": math.inf, "-.Inf": -math.inf, "+.INF": math.inf,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
    "null": None, "Null": None, "NULL": None, "~": None, "": None,
    "yes": "yes", "no": "no", "on": "on", "off": "off", "y": "y", "Yes": "Yes", "tRUE": "tRUE",
    "2024-01-01": "2024-01-01", "2024-01-01 10:00:00": "2024-01-01 10:00:00", "12:30": "12:30",
    "3:50:00": "3:50:00", "1_000": "1_000", "0b101": "0b101", "1e": "1e", "e5": "e5", ".": ".",
    "-": "-", "1.2.3": "1.2.3", "inf": "inf", "nan": "nan", "0xg": "0xg", "0o8": "0o8", "=": "=",
    "١": "١", "-0x1": "-0x1", "..": "..", "NULl": "NULl",
}  # fmt: skip


@pytest.mark.parametrize("text", RESOLVED, ids=repr)
def test_a_plain_scalar_is_what_people_mean(text: str) -> None:
    found = resolve(text)
    assert (found, type(found)) == (RESOLVED[text], type(RESOLVED[text]))


def test_nan_is_read() -> None:
    assert math.isnan(resolve(".nan"))


@pytest.mark.parametrize(
    ("text", "cure"),
    [("012", "write 12"), ("-007", "write -7"), ("+00", "write +0"), ("1e999", "write .inf"),
     ("-1e400", "write .inf"), ("1e-400", "write 0"), ("9" * 401, "into quotes")],
    ids=lambda each: each[:10],
)  # fmt: skip
def test_an_unclear_scalar_says_what_to_write(text: str, cure: str) -> None:
    with pytest.raises(Unclear, match=re.escape(cure)):
        resolve(text)


@unhurried
@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**300), 10**300))
def test_numbers_that_python_writes_are_read_exactly(value: float) -> None:
    found = resolve(repr(value))
    assert (found, type(found)) == (value, type(value))


# --- YAML -----------------------------------------------------------------------------


def read(text: str) -> Any:
    return plain(parse(text))


def test_merges_and_aliases_are_written_out() -> None:
    text = (
        "base: &base {a: 1, b: 2}\nmore: &more {b: 3, c: 4}\nlist: &list [1, 2]\n"
        "x: {<<: *base, b: 5}\ny: {<<: [*base, *more], l: *list}\nz: {b: 6, <<: *more}\n"
    )
    found = read(text)
    assert found["x"] == {"a": 1, "b": 5}
    assert found["y"] == {"a": 1, "b": 2, "c": 4, "l": [1, 2]}
    assert found["z"] == {"b": 6, "c": 4}


def test_a_quoted_merge_key_is_a_key() -> None:
    assert read("a: {'<<': 1}") == {"a": {"<<": 1}}


def test_keys_are_texts_as_written() -> None:
    assert read("{1: a, on: b, null: c, 1.0: d, 012: e}") == {
        "1": "a", "on": "b", "null": "c", "1.0": "d", "012": "e",
    }  # fmt: skip


def test_quoted_and_block_scalars_and_str_tags_are_texts() -> None:
    assert read("a: '1'\nb: \"true\"\nc: |\n  5\nd: >-\n  6\ne: !!str 7\nf: ! 8") == {
        "a": "1", "b": "true", "c": "5\n", "d": "6", "e": "7", "f": "8",
    }  # fmt: skip


def test_a_byte_order_mark_a_directive_and_one_explicit_document_are_fine() -> None:
    assert read("\ufeff%YAML 1.2\n---\na: 1\n...\n") == {"a": 1}


def test_lines_are_those_of_the_file() -> None:
    top = parse("# comment\na:\n  - 1\n\n  - b:\n      2\n")
    entry = top.get("a")
    assert entry is not None
    assert (entry.line, entry.value.line) == (2, 3)
    assert [each.line for each in entry.value.items] == [3, 5]  # type: ignore[union-attr]


def test_every_duplicate_is_told_even_before_a_syntax_error() -> None:
    with pytest.raises(TextError) as caught:
        parse("a: 1\na: 2\nb: {c: 1, c: 2}\nd: [")
    assert [line for line, _ in caught.value.problems] == [2, 3, 4]


@pytest.mark.parametrize("bracket", ["[", "{a: ", "- ", "? ", "[{a: "])
def test_hostile_nesting_is_refused_quickly(bracket: str) -> None:
    with pytest.raises(TextError, match="deeper than"):
        parse(f"x:\n  {bracket * 50_000}")


def test_nesting_hidden_in_aliases_counts() -> None:
    lines = ["a0: &a0 [1]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 60)]
    with pytest.raises(TextError, match="deeper than"):
        parse("\n".join(lines))
    assert read("\n".join(lines[: MAX_DEPTH - 2]))["a0"] == [1]


def test_a_flood_of_merges_is_refused_quickly() -> None:
    keys = ", ".join(f"k{n}: 1" for n in range(1000))
    with pytest.raises(TextError, match="more than"):
        parse(f"a: &a {{{keys}}}\nb: {{<<: [{', '.join(['*a'] * 2000)}]}}")


# --- kinds ----------------------------------------------------------------------------

BROUGHT: list[tuple[Parameter, Any, Any]] = [
    (Parameter("x", "float"), 100, 100.0),
    (Parameter("x", "float"), "5e-4", 0.0005),
    (Parameter("x", "float"), " 1.5 ", 1.5),
    (Parameter("x", "float"), "inf", math.inf),
    (Parameter("x", "float"), "-INF", -math.inf),
    (Parameter("x", "int"), 4.0, 4),
    (Parameter("x", "int"), "4", 4),
    (Parameter("x", "int"), "4.0", 4),
    (Parameter("x", "int"), 1e3, 1000),
    (Parameter("x", "int"), -0.0, 0),
    (Parameter("x", "int"), 2**70, 2**70),
    (Parameter("x", "bool"), True, True),
    (Parameter("x", "bool"), "False", False),
    (Parameter("x", "str"), "1", "1"),
    (Parameter("x", "any"), "1", "1"),
    (Parameter("x", "any"), None, None),
    (Parameter("x", "any"), [1, {"a": None}], [1, {"a": None}]),
    (Parameter("x", "int", optional=True), None, None),
    (Parameter("x", "int", minimum=1, maximum=2), 2, 2),
    (Parameter("x", "any", choices=(1, "a", True)), 1.0, 1),
    (Parameter("x", "any", choices=(1, "a", True)), True, True),
]


@pytest.mark.parametrize(("parameter", "value", "expected"), BROUGHT)
def test_values_are_brought_to_the_declared_kind(
    parameter: Parameter, value: Any, expected: Any
) -> None:
    found = bring(parameter, value)
    assert (found, type(found)) == (expected, type(expected))


def test_a_number_for_a_text_is_taken_as_written() -> None:
    assert bring(Parameter("version", "str"), 1.1, "1.10") == "1.10"
    with pytest.raises(Mismatch):
        bring(Parameter("version", "str"), 1.1)


REFUSED: list[tuple[Parameter, Any]] = [
    (Parameter("x", "int"), 4.5), (Parameter("x", "int"), True), (Parameter("x", "int"), "abc"),
    (Parameter("x", "int"), math.inf), (Parameter("x", "int"), math.nan),
    (Parameter("x", "int"), 2.0**60), (Parameter("x", "int"), None), (Parameter("x", "int"), ""),
    (Parameter("x", "int"), "012"), (Parameter("x", "float"), False),
    (Parameter("x", "float"), 10**400), (Parameter("x", "float"), "1e999"),
    (Parameter("x", "float"), [1.0]), (Parameter("x", "float", minimum=0), -1),
    (Parameter("x", "float", maximum=1), math.nan), (Parameter("x", "bool"), 1),
    (Parameter("x", "bool"), "yes"), (Parameter("x", "str"), True), (Parameter("x", "str"), {}),
    (Parameter("x", "any", choices=(1, "a")), True), (Parameter("x", "any", choices=(1,)), None),
]  # fmt: skip


@pytest.mark.parametrize(("parameter", "value"), REFUSED)
def test_what_would_be_a_guess_is_refused(parameter: Parameter, value: Any) -> None:
    with pytest.raises(Mismatch, match=r"found .*, expected "):
        bring(parameter, value, "written")


# --- folder names ---------------------------------------------------------------------

FOLDERS = {
    "1": [1, 1.0, "1"], "100": [100, 100.0], "0": [0, -0.0], "0.0005": [5e-4], "1e-5": [1e-5],
    "1e16": [1e16], "1.5e-7": [1.5e-7], "-2.5": [-2.5], "1e300": [1e300], "true": [True],
    "false": [False], "none": [None], "nan": [math.nan], "inf": [math.inf], "a b": ["a b"],
    "ü": ["ü"], "...": ["..."], "a..b": ["a..b"],
}  # fmt: skip


@pytest.mark.parametrize("text", FOLDERS)
def test_values_are_short_in_folder_names(text: str) -> None:
    assert {folder_text(value) for value in FOLDERS[text]} == {text}


@pytest.mark.parametrize(
    "value", ["", " ", ".", "..", " .. ", "a/b", "/a", "a\\b", "a\0", "a\n", "\x7f", [1], {}]
)
def test_a_value_cannot_lead_out_of_its_folder(value: Any) -> None:
    with pytest.raises(TemplateError):
        folder_text(value)


@unhurried
@given(st.text() | st.floats() | st.integers() | st.booleans() | st.none())
def test_a_value_is_one_folder_or_refused(value: Any) -> None:
    try:
        text = folder_text(value)
    except TemplateError:
        return
    assert text not in ("", ".", "..")
    assert "/" not in text
    assert "\0" not in text


def test_templates_are_filled_in() -> None:
    found = template.parse("a_{x}/{{{y}}}_{x}")
    assert found.names == ("x", "y")
    assert found.fill({"x": "1", "y": "2"}) == "a_1/{2}_1"
    assert template.parse("plain").fill({}) == "plain"
    assert template.parse("{ x }").names == ("x",)


def test_directories_are_the_same_for_equal_numbers_and_any_parameter_may_name_them() -> None:
    declared = Experiment("m:f", (Parameter("alpha", "float", 0.5), Parameter("n", "int", 3)))
    text = "x: {output_dir: 'r_{alpha}_{n}', combinations: {alpha: [100, 1e-5]}}"
    assert load([("f", text)], lambda _: declared).output_dirs() == ["r_100_3", "r_1e-5_3"]


# --- durations ------------------------------------------------------------------------

DURATIONS = {
    "90": 90.0, "0.5": 0.5, "3:50:00": 13800.0, "100:00:01": 360001.0, "30m": 1800.0,
    "1h30m": 5400.0, "1h 30m": 5400.0, "2d": 172800.0, "45s": 45.0, "null": None, "'90s'": 90.0,
}  # fmt: skip


@pytest.mark.parametrize("text", DURATIONS)
def test_timeouts_are_seconds_or_read_like_a_clock(text: str) -> None:
    declared = Experiment("m:f", (Parameter("x", default=1),))
    files = [("f", f"x: {{output_dir: r, combinations: {{x: 1}}, timeout: {text}}}")]
    task = next(load(files, lambda _: declared).tasks())
    assert task.timeout_seconds == DURATIONS[text]
