"""Rows from before entries of mappings had columns of their own: they stay as they are.

The CSV is one that an older version wrote, byte for byte; its signatures are those of today.
"""

from __future__ import annotations

from pathlib import Path

from support import Cli

PROGRAM = """\
def main(model: str = "lr", optimizer: dict = None, seed: int = 0):
    return {"v": seed}
"""
SWEEP = """\
defaults: {output_dir: r, experiment: "train:main"}
x: {combinations: {optimizer: [{name: adam, lr: 0.1}, {name: "s\\n,\\"d"}], seed: [1, 2]}}
"""
FROZEN = r"""phase,task_id,signature,model,optimizer,seed,v
x,x_0_1,3716c300859bbe2343b10cb14ea16724,lr,"{""name"": ""adam"", ""lr"": 0.1}",1,1
x,x_1_2,661ec80b9bd41f93f3a6ebe3dc01ac6b,lr,"{""name"": ""adam"", ""lr"": 0.1}",2,2
x,x_2_1,d1b367de1894584db61cbfdf88b1ec94,lr,"{""name"": ""s\n,\""d""}",1,1
x,x_3_2,65a11d45162975576c99b795ec58c43b,lr,"{""name"": ""s\n,\""d""}",2,2
"""


def test_rows_with_a_mapping_in_one_cell_are_taken_in_and_stay(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(PROGRAM)
    (tmp_path / "a.yaml").write_text(SWEEP)
    cli.set_up("init", "a.yaml")
    (tmp_path / ".sqlqueue" / "queue.db").unlink()
    rows = tmp_path / "r" / "final_results.csv"
    rows.write_text(FROZEN)
    recovered = cli("recover", "a.yaml")
    assert "4 tasks, 4 completed" in recovered.stdout, recovered.stdout + recovered.stderr
    assert rows.read_text() == FROZEN
    assert cli("verify").returncode == 0
    (tmp_path / ".sqlqueue" / "queue.db").unlink()
    rows.write_text(FROZEN.replace("0.1}", "0.2}", 1))
    refused = cli("recover", "a.yaml")
    assert "column optimizer is" in refused.stdout + refused.stderr
