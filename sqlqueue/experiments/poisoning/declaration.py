"""The parameters of `poisoning`: what a sweep file may say, its defaults and its limits.

A name, kind or default that stands here is part of the signatures of everybody's cells:
change none.  A parameter added later says `original=False` and the `first_default` it came
with.  What is not here: torch and numpy; a plan of a million cells imports this file.

What a parameter means where its name leaves a choice:

* `fraction_fit`: the share of the clients, drawn anew, that trains in each round (C in
  McMahan et al. 2017).  `local_epochs` and `batch_size` are E and B there.
* `width_factor`, `depth`: see `architecture.py`.
* `momentum` is of `sgd`; `adam` and `adamw` do without it.
* `max_grad_norm`: gradients are scaled down to this L2 norm; null or 0: no clipping.
* `validation_split`: the share of the training data held out, clean, to choose the best
  round.  0: no validation, the last round's weights are the result.
* `early_stopping_patience`: stop after this many rounds in a row whose validation loss was
  not below the best by more than `min_delta`; null: train all rounds.  Either way the
  weights of the best round are restored.
* `poison_type`: `label_flip` turns class c into C-1-c, `random_noise` draws every label at
  random, `none` leaves all clients honest.  `poison_ratio`: the share of clients that are
  malicious, whole clients; 0 poisons nothing whatever the type.
* `target_class` and `poison_label`, both or neither: a targeted `label_flip`, in which
  malicious clients relabel their samples of `target_class` as `poison_label` and leave the
  others as they are.  `random_noise` and `none` do not look at them, so that a sweep over
  attack types may fix them.
* `alpha`: concentration of the Dirichlet label skew (Hsu et al. 2019); 100 or more is IID.
* `data_ordering`: when poisoned material is seen.  `shuffle`: at any time.  `good_bad`:
  malicious clients stay away in the first half of the rounds, and a client that holds both
  trains on clean samples before poisoned ones; `bad_good` is the reverse (malicious clients
  take part in the first half only).
* `load_to_memory`: keep the dataset on the device and between cells; false reads it for each
  cell and moves batch by batch.  `num_workers` is accepted and changes nothing: batches are
  slices of tensors, there is nothing to load in the background.
"""

from __future__ import annotations

from typing import Final

from sqlqueue.experiments.poisoning.catalog import FACTS
from sqlqueue.experiments.poisoning.cost import estimate
from sqlqueue.plan.task import Experiment, Parameter

DECLARATION: Final = Experiment(
    name="poisoning",
    parameters=(
        Parameter("dataset", "str", "digits", choices=tuple(FACTS)),
        Parameter("model_type", "str", "cnn", choices=("lr", "cnn")),
        Parameter("width_factor", "int", 4, minimum=1, maximum=1024),
        Parameter("depth", "int", 2, minimum=1, maximum=64),
        Parameter("seed", "int", 42, minimum=0, maximum=2**63 - 1),
        Parameter("num_clients", "int", 10, minimum=1),
        Parameter("fraction_fit", "float", 1.0, minimum=0.0, maximum=1.0),
        Parameter("global_rounds", "int", 20, minimum=1),
        Parameter("local_epochs", "int", 1, minimum=1),
        Parameter("batch_size", "int", 32, minimum=1),
        Parameter("optimizer", "str", "sgd", choices=("sgd", "adam", "adamw")),
        Parameter("lr", "float", 0.05, minimum=0.0),
        Parameter("momentum", "float", 0.9, minimum=0.0, maximum=1.0),
        Parameter("weight_decay", "float", 5e-4, minimum=0.0),
        Parameter("max_grad_norm", "float", 1.0, minimum=0.0, optional=True),
        Parameter("validation_split", "float", 0.1, minimum=0.0, maximum=1.0),
        Parameter("early_stopping_patience", "int", None, minimum=1, optional=True),
        Parameter("min_delta", "float", 0.0, minimum=0.0),
        Parameter(
            "poison_type", "str", "label_flip", choices=("none", "label_flip", "random_noise")
        ),
        Parameter("poison_ratio", "float", 0.0, minimum=0.0, maximum=1.0),
        Parameter("target_class", "int", None, minimum=0, optional=True),
        Parameter("poison_label", "int", None, minimum=0, optional=True),
        Parameter("alpha", "float", 100.0, minimum=1e-3),
        Parameter("data_ordering", "str", "shuffle", choices=("shuffle", "good_bad", "bad_good")),
        Parameter("aggregator", "str", "fedavg", choices=("fedavg", "median")),
        Parameter("load_to_memory", "bool", True, runtime_only=True),
        Parameter("num_workers", "int", 0, runtime_only=True, minimum=0),
        Parameter("data_dir", "str", "data", runtime_only=True),
    ),
    cost=estimate,
)
