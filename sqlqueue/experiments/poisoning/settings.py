"""A cell's parameters as typed values, and the combinations that make no sense.

Each value by itself is held to the declaration; what is said here is what can only be said
of several together.  Every refusal names the keys and the cure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlqueue.errors import ExperimentError
from sqlqueue.experiments.poisoning.declaration import DECLARATION
from sqlqueue.plan.values import Mismatch, bring


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The parameters, named as in sweep files; `declaration.py` says what they mean."""

    dataset: str
    model_type: str
    width_factor: int
    depth: int
    seed: int
    num_clients: int
    fraction_fit: float
    global_rounds: int
    local_epochs: int
    batch_size: int
    optimizer: str
    lr: float
    momentum: float
    weight_decay: float
    max_grad_norm: float | None
    validation_split: float
    early_stopping_patience: int | None
    min_delta: float
    poison_type: str
    poison_ratio: float
    target_class: int | None
    poison_label: int | None
    alpha: float
    data_ordering: str
    aggregator: str
    load_to_memory: bool
    num_workers: int
    data_dir: str

    @property
    def poisons(self) -> bool:
        return self.poison_type != "none" and self.poison_ratio > 0

    @property
    def target(self) -> tuple[int, int] | None:
        """Of a targeted label flip: the class, and what it becomes."""
        if self.poison_type != "label_flip":
            return None
        if self.target_class is None or self.poison_label is None:
            return None
        return self.target_class, self.poison_label

    @property
    def clients_per_round(self) -> int:
        return nearest_count(self.fraction_fit, self.num_clients)


def nearest_count(share: float, total: int) -> int:
    """`share` of `total`, to the nearest whole number; halves go up."""
    return math.floor(share * total + 0.5 + 1e-9)


def complete(parameters: Mapping[str, Any]) -> Settings:
    """The settings that `parameters` and the defaults make; raises `ExperimentError`."""
    unknown = [name for name in parameters if DECLARATION.parameter(name) is None]
    if unknown:
        raise ExperimentError(f"poisoning has no parameter {', '.join(map(repr, unknown))}")
    values = {each.name: parameters.get(each.name, each.default) for each in DECLARATION.parameters}
    settings = Settings(**{name: _checked(name, value) for name, value in values.items()})
    _check_rounds(settings)
    _check_validation(settings)
    return settings


def _checked(name: str, value: Any) -> Any:
    """Once more what a sweep file was held to: cells can come from elsewhere."""
    parameter = DECLARATION.parameter(name)
    assert parameter is not None
    try:
        return bring(parameter, value)
    except Mismatch as error:
        raise ExperimentError(f"{name}: {error}") from None


def _check_rounds(settings: Settings) -> None:
    if settings.clients_per_round == 0:
        raise ExperimentError(
            f"fraction_fit: {settings.fraction_fit:g} of {settings.num_clients} clients selects "
            f"none; it must be at least {0.5 / settings.num_clients:g}"
        )


def _check_validation(settings: Settings) -> None:
    if settings.validation_split == 0 and settings.early_stopping_patience is not None:
        raise ExperimentError(
            f"early_stopping_patience: {settings.early_stopping_patience} needs validation data, "
            "but validation_split is 0; raise validation_split, or set the patience to null"
        )


def check_honest(settings: Settings, malicious: int) -> None:
    """An ordering keeps half of the rounds free of malicious clients: somebody must be left."""
    if settings.data_ordering != "shuffle" and malicious == settings.num_clients:
        raise ExperimentError(
            f"data_ordering: {settings.data_ordering} has rounds for honest clients only, but "
            f"poison_ratio {settings.poison_ratio:g} leaves none; lower it, or use shuffle"
        )


def check_against(settings: Settings, classes: int, held_out: int, left: int) -> None:
    """What depends on the data: `held_out` samples validate, `left` are for training."""
    if settings.validation_split > 0 and held_out == 0:
        raise ExperimentError(
            f"validation_split: {settings.validation_split:g} of {left} samples holds out none; "
            "raise it, or set it to 0"
        )
    if left < settings.num_clients:
        raise ExperimentError(
            f"num_clients: {settings.num_clients} clients cannot share {left} training samples "
            f"(validation_split {settings.validation_split:g} holds out {held_out}); "
            "lower num_clients or validation_split"
        )
    if settings.poisons and settings.poison_type == "label_flip":
        _check_target(settings, classes)


def _check_target(settings: Settings, classes: int) -> None:
    pair = {"target_class": settings.target_class, "poison_label": settings.poison_label}
    given = {name: value for name, value in pair.items() if value is not None}
    if len(given) == 1:
        (absent,) = pair.keys() - given
        raise ExperimentError(
            f"{absent}: a targeted label_flip needs it beside {next(iter(given))}"
        )
    for name, value in given.items():
        if not 0 <= value < classes:
            raise ExperimentError(
                f"{name}: {value} is no class of {settings.dataset}; expected 0 to {classes - 1}"
            )
    if given and settings.target_class == settings.poison_label:
        raise ExperimentError(f"poison_label: {settings.poison_label} is target_class itself")
