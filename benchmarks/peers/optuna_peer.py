"""Optuna on SQLite: a study, and two processes that optimize it.

    .venv-peers/bin/python optuna_peer.py FOLDER TASKS

As its manual has it: each process loads the study and calls `optimize` for its share, and trials
are made as they are run.  (Queued beforehand with `enqueue_trial`, two processes now and then took
the same trial, and one of them ended with `UpdateFinishedTrialError`.)
"""

import json
import multiprocessing
import sys
from pathlib import Path

import optuna

WORKERS = 2
optuna.logging.set_verbosity(optuna.logging.WARNING)


def objective(trial):
    trial.suggest_int("seed", 0, 10**9)
    return 0.5


def opened(folder):
    return optuna.create_study(
        storage=f"sqlite:///{folder}/study.db", study_name="bench", load_if_exists=True,
        sampler=optuna.samplers.RandomSampler(seed=0),
    )  # fmt: skip


def work(folder, count, begin):
    study = opened(folder)
    begin.wait()
    study.optimize(objective, n_trials=count)


def main():
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    study = opened(folder)
    begin = multiprocessing.Barrier(WORKERS)
    crew = [multiprocessing.Process(target=work, args=(folder, count // WORKERS, begin))
            for _ in range(WORKERS)]  # fmt: skip
    for each in crew:
        each.start()
    for each in crew:
        each.join()
    trials = study.get_trials(deepcopy=False)
    assert len(trials) == count and all(each.value == 0.5 for each in trials)
    begun = min(each.datetime_start for each in trials)
    ended = max(each.datetime_complete for each in trials)
    print(json.dumps({"tasks": count, "seconds": (ended - begun).total_seconds()}))


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    main()
