"""Twenty lines of plain Python work on a queue: no newline, a new connection each time."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
from acceptance import Study

from sqlqueue.protocol import SubmitResult
from sqlqueue.worker.client import Client
from support import later

CLIENT = """
import json, os, socket, sys

def ask(**message):
    with open(".sqlqueue/manager.json") as file:
        path = os.path.join(".sqlqueue", json.load(file)["unix_socket"])
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(path)
        connection.sendall(json.dumps(message).encode())
        return json.loads(connection.recv(1 << 20))

task = ask(type="request_task", worker_id="plain")
config = task["config"]
result = {"phase": task["phase"], "dataset": config["dataset"], "model_type": config["model_type"],
          "mean_test_acc": 0.97, "mean_test_loss": float(sys.argv[1])}
ack = ask(type="submit_result", task_id=task["task_id"], worker_id="plain", result_data=result)
rows = [open(os.path.join(each, "final_results.csv")).read() for each in task["output_dirs"]]
print(json.dumps([task, ack, rows]))
"""


@pytest.mark.parametrize(("loss", "stored"), [("0.0917", "0.0917"), ("nan", "nan")])
def test_twenty_lines_get_an_ack_and_the_row_is_everywhere_before_it(
    study: Study, loss: str, stored: str
) -> None:
    assert len(CLIENT.strip().splitlines()) <= 20
    combinations = [{"width_factor": 4}, {"seed": 42}]
    study.set_up(study.write("one.yaml", "results_one", combinations=combinations),
               study.write("two.yaml", "results_two", combinations=combinations))  # fmt: skip
    study.manager.start()
    done = subprocess.run(
        [sys.executable, "-I", "-c", CLIENT, loss],
        cwd=study.root, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    task, ack, texts = json.loads(done.stdout)
    assert ack == {"type": "ack"}
    assert task["output_dirs"] == ["results_one", "results_two"]
    assert texts[0] == texts[1]
    header, row = (line.split(",") for line in texts[0].splitlines())
    found = dict(zip(header, row, strict=True))
    assert found["mean_test_loss"] == stored
    assert (found["task_id"], found["dataset"], found["model_type"]) == (
        "grid_0_42",
        "mnist",
        "cnn",
    )
    assert found["mean_test_acc"] == "0.97"
    said = study.manager.said
    assert "Result saved to 2 directories for task grid_0_42" in said
    for directory in task["output_dirs"]:
        assert f"Saved result for grid_0_42 to {directory}/final_results.csv" in said


@pytest.mark.parametrize("seconds", [math.nan, *later(math.inf, -1.0)])
def test_a_duration_that_is_none_does_not_refuse_a_result(study: Study, seconds: float) -> None:
    study.set_up(study.write("one.yaml", "results", combinations={"seed": [42]}))
    study.manager.start()
    with Client(study.home) as client:
        client.submit(
            SubmitResult(task_id="grid_0_42", worker_id="other", result_data={"accuracy": 0.5},
                         attempt=7, seconds=seconds)
        )  # fmt: skip
    (row,) = study.rows("results")
    assert row["accuracy"] == "0.5"
