"""What stands in a CSV: pandas reads all of it, floats are the very floats, a row is a line."""

from __future__ import annotations

import math
import struct

import pandas as pd
from acceptance import Study
from acceptance_experiments import FLOATS, TEXTS

LABELS = ["a,b", 'say "so"', "two\nlines", "naïve 模型"]


def bits(number: float) -> bytes:
    """Tells -0.0 from 0.0."""
    return struct.pack("<d", number)


def test_every_value_survives_the_csv(study: Study) -> None:
    seeds = list(range(len(TEXTS)))
    sweep = {"combinations": [{"seed": seeds}, {"label": LABELS}]}
    study.run(study.write("a.yaml", "results_{seed}", "values", **sweep))
    for seed in seeds:
        path = study.root / f"results_{seed}" / "final_results.csv"
        assert len(path.read_bytes().splitlines()) == 1 + len(LABELS)
        frame = pd.read_csv(path, engine="python", keep_default_na=False)
        assert list(frame["label"]) == [escaped(label) for label in LABELS]
        assert set(frame["text"]) == {escaped(TEXTS[seed])}
        assert set(frame["nested.a.b"]) == {"[1, 2]"}


def test_floats_round_trip_and_nan_inf_and_nothing_differ(study: Study) -> None:
    sweep = {"combinations": [{"seed": 0}, {"label": "x"}]}
    study.run(study.write("a.yaml", "results", "values", **sweep))
    (row,) = study.rows("results")
    for number, value in enumerate(FLOATS):
        assert bits(float(row[f"float_{number}"])) == bits(value)
    assert (row["loss"], row["peak"], row["trough"], row["none"]) == ("nan", "inf", "-inf", "")
    frame = pd.read_csv(study.root / "results" / "final_results.csv", engine="python")
    assert [bits(float(frame[f"float_{number}"][0])) for number in range(len(FLOATS))] == [
        bits(value) for value in FLOATS
    ]
    assert math.isinf(frame["peak"][0])
    assert math.isnan(frame["loss"][0])


def test_columns_come_in_order_and_later_ones_on_the_right(study: Study) -> None:
    study.run(study.write("a.yaml", "results", combinations={"seed": [1]}))
    study.run(study.write("b.yaml", "results", "other", "second", combinations={"seed": [1]}))
    first, second = study.rows("results")
    own = ["phase", "task_id", "signature"]
    parameters = ["seed", "width_factor", "dataset", "model_type"]
    assert list(first) == [*own, *parameters, "mean_test_acc", "mean_test_loss", "value"]
    assert (first["value"], second["value"], second["mean_test_acc"]) == ("", "1", "")


def escaped(text: str) -> str:
    """One row is one line: what would break it stands there as its escape."""
    escapes = {"\n": "\\n", "\r": "\\r", "\u2028": "\\u2028"}
    return "".join(escapes.get(each, each) for each in text)
