"""Several clients' round at once: their copies of the model are trained as one stack.

Each client has what it has by itself: its own order of samples, its own batches (the last one
smaller; loss and batch normalisation are over what it holds), its own state of the optimizer,
its own bound on the gradient.  Nothing is padded.  Clients that make equally many steps go
together; where their batches differ in size, those of one size go through the model together
before all make their step.

Promises: what comes out is what `local.train` gives client by client, but for the order in
which sums are rounded.  What is not here: when this is worth it (`pace.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import torch
from torch import Tensor, nn

from sqlqueue.experiments.poisoning.data import Dataset, pixels
from sqlqueue.experiments.poisoning.local import Lesson, build_optimizer
from sqlqueue.experiments.poisoning.settings import Settings
from sqlqueue.experiments.poisoning.stack import Stack

CHECK_EVERY_STEPS: Final = 32
_NORM_FLOOR: Final = 1e-6
"""What `torch.nn.utils.clip_grad_norm_` adds to the norm that it divides by."""


def train_together(
    model: nn.Sequential,
    start: Tensor,
    lessons: Sequence[Lesson],
    dataset: Dataset,
    settings: Settings,
    check: Callable[[], None],
) -> Iterator[Tensor]:
    """The weights that each client comes to from `start`, in their order.

    `check` is called every `CHECK_EVERY_STEPS` steps; it raises to end the round.
    """
    for _, alike in itertools.groupby(lessons, lambda each: len(each.batches(settings.batch_size))):
        group = list(alike)
        stack = Stack(model, start, len(group))
        _train(stack, group, dataset, settings, check)
        yield from stack.weights()


def _train(
    stack: Stack,
    lessons: list[Lesson],
    dataset: Dataset,
    settings: Settings,
    check: Callable[[], None],
) -> None:
    optimizer = build_optimizer([stack.parameters], settings)
    batches = zip(*(each.batches(settings.batch_size) for each in lessons), strict=True)
    for step, batch in enumerate(batches, 1):
        optimizer.zero_grad()
        _descend(stack, batch, dataset)
        if settings.max_grad_norm:
            _clip(stack.parameters, settings.max_grad_norm)
        optimizer.step()
        if step % CHECK_EVERY_STEPS == 0:
            check()


def _descend(stack: Stack, batch: Sequence[tuple[Tensor, Tensor]], dataset: Dataset) -> None:
    """Leaves each copy's gradient; `batch`: per copy, where its images are, and their labels."""
    first = 0
    for _, alike in itertools.groupby(batch, lambda each: len(each[1])):
        indices, labels = (torch.stack(each, dim=1) for each in zip(*alike, strict=True))
        last = first + indices.shape[1]
        images = pixels(dataset.training, indices.flatten(), dataset)
        images = images.view(*indices.shape, *images.shape[1:])
        logits = stack.logits(images, first, last)
        _loss(logits, labels.mT).backward()  # type: ignore[no-untyped-call]
        first = last


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The sum over the copies, none of which sees another's, of their mean over samples."""
    total = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum")
    return total / labels.shape[1]


def _clip(parameters: Tensor, max_grad_norm: float) -> None:
    """As `clip_grad_norm_` does, row by row."""
    assert parameters.grad is not None
    norms = torch.linalg.vector_norm(parameters.grad, dim=1, keepdim=True)
    parameters.grad.mul_((max_grad_norm / (norms + _NORM_FLOOR)).clamp(max=1.0))
