"""The built-in experiment on real data, from two overlapping sweep files to both CSVs."""

from __future__ import annotations

from acceptance import Study

SWEEP = """
defaults:
  output_dir: results_{figure}_{{dataset}}
  experiment: poisoning
  dataset: digits
  model_type: lr
  global_rounds: 2
  num_clients: 4
  lr: 1e-1

{figure}:
  combinations:
    - poison_ratio: {ratios}
    - width_factor: 4
    - seed: 42
"""


def test_training_on_digits_fills_both_directories(study: Study) -> None:
    for figure, ratios in (("clean", [0, 0.5]), ("attacked", [0.5, 0.75])):
        text = SWEEP.format(figure=figure, ratios=ratios)
        (study.root / f"{figure}.yaml").write_text(text)
    study.run("clean.yaml", "attacked.yaml")
    clean, attacked = (study.rows(f"results_{each}_digits") for each in ("clean", "attacked"))
    ratios = [sorted(float(row["poison_ratio"]) for row in rows) for rows in (clean, attacked)]
    assert ratios == [[0.0, 0.5], [0.5, 0.75]]
    (shared,) = [row for row in clean if row in attacked]
    assert float(shared["poison_ratio"]) == 0.5
    accuracy = {float(row["poison_ratio"]): float(row["mean_test_acc"]) for row in clean + attacked}
    assert accuracy[0.0] > 0.5  # chance is 0.1
    assert accuracy[0.0] > accuracy[0.75]
    assert all(row["device"] == "cpu" and int(row["num_parameters"]) > 0 for row in clean)
    assert study.totals() == {"completed": 3}
