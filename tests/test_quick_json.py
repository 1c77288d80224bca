"""The quick way to write and read JSON means what the standard library's means."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqlqueue import protocol
from sqlqueue.plan import wire
from sqlqueue.plan.quick_json import read, written

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True)
    | st.text(st.characters(exclude_categories=())) | st.just("null")
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text(), each, max_size=4),
    max_leaves=12,
)
BIG = (2**63, 2**64, -(2**63) - 1, 10**30, 1e400, -0.0, 5e-324, 1.7976931348623157e308)


@given(VALUES)
def test_it_means_the_same(value: Any) -> None:
    theirs = json.loads(json.dumps(value))
    assert repr(read(written(value))) == repr(theirs)
    assert repr(json.loads(written(value))) == repr(theirs)
    assert repr(read(json.dumps(value))) == repr(theirs)


@pytest.mark.parametrize("value", BIG, ids=repr)
def test_so_do_the_extremes(value: float) -> None:
    assert repr(read(written([value]))) == repr([value])
    assert repr(read(json.dumps([value]))) == repr([value])


@given(st.lists(VALUES, max_size=5), st.integers(0, 400))
def test_what_is_said_to_fit_does(values: list[Any], most_bytes: int) -> None:
    message = protocol.SubmitResult(task_id="t", worker_id="w", result_data={"y": values})
    fits = len(protocol.encode(message)) <= most_bytes
    assert wire.fits(message, most_bytes) is fits


@given(st.dictionaries(st.text(), VALUES, max_size=4), st.sampled_from([None, 3]))
def test_what_is_not_finite_stays_so_on_the_wire(values: dict[str, Any], seed: int | None) -> None:
    task = protocol.TaskReply(
        task_id="t", attempt=1, phase="p", experiment="e", config=values, seed=seed,
        output_dir="a", output_dirs=["a"], lease_seconds=1.0, signature="0" * 32,
        timeout_seconds=None,
    )  # fmt: skip
    result = protocol.SubmitResult(task_id="t", worker_id="w", result_data=values)
    theirs = repr(json.loads(json.dumps(values)))
    assert repr(json.loads(protocol.encode(task))["config"]) == theirs
    assert repr(json.loads(protocol.encode(result))["result_data"]) == theirs
