"""How good a model is on clean samples: mean, and standard deviation over the clients.

The mean is over all samples: `mean_test_acc` is the plain accuracy on the whole test set.
The standard deviation is between the clients' shards of that set, weighted by their size as
federated averaging weighs clients: sqrt(sum_k n_k/n (m_k - mean)^2).  It tells how unevenly the
one global model serves clients whose data differ; with one client it is 0.

A model that has diverged gives a loss that is `nan` or `inf`; a sample for which it says
`nan` is not classified, and so is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from sqlqueue.experiments.poisoning.data import Dataset, pixels
from sqlqueue.experiments.poisoning.population import Exam

_BATCH: Final = 512


@dataclass(frozen=True, slots=True)
class Means:
    """What a round is judged by; empty (None) when there were no samples."""

    acc: float | None
    loss: float | None


@dataclass(frozen=True, slots=True)
class Score:
    """Empty (None) when there were no samples to judge by."""

    mean_acc: float | None
    std_acc: float | None
    mean_loss: float | None
    std_loss: float | None

    def metrics(self, name: str) -> dict[str, float | None]:
        """As columns: `mean_test_acc`, ..."""
        return {
            f"mean_{name}_acc": self.mean_acc,
            f"std_{name}_acc": self.std_acc,
            f"mean_{name}_loss": self.mean_loss,
            f"std_{name}_loss": self.std_loss,
        }


def examine(model: nn.Module, exam: Exam, dataset: Dataset) -> Means:
    """The means alone: of many clients, the deviation takes longer than the model."""
    if len(exam) == 0:
        return Means(None, None)
    correct, losses = _examine(model, exam, dataset)
    return Means(correct.mean().item(), losses.mean().item())


def evaluate(model: nn.Module, exam: Exam, dataset: Dataset) -> Score:
    """Judges `model`, in evaluation mode."""
    if len(exam) == 0:
        return Score(None, None, None, None)
    correct, losses = _examine(model, exam, dataset)
    mean_acc, std_acc = spread(correct, exam.shards)
    mean_loss, std_loss = spread(losses, exam.shards)
    return Score(mean_acc, std_acc, mean_loss, std_loss)


def spread(values: Tensor, shards: list[Tensor]) -> tuple[float, float]:
    """The mean over all, and the deviation between the shards, weighted by size."""
    mean = values.mean()
    sizes = torch.tensor([len(each) for each in shards], dtype=torch.float64)
    means = torch.stack([values[each].mean() for each in shards])
    variance = (sizes * (means - mean) ** 2).sum() / sizes.sum()
    return mean.item(), variance.sqrt().item()


@torch.no_grad()
def _examine(model: nn.Module, exam: Exam, dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Per sample, in double precision on the CPU: whether it was right, and its loss."""
    model.eval()
    correct, losses = [], []
    for positions in torch.split(torch.arange(len(exam)), _BATCH):
        images = pixels(exam.part, exam.indices[positions], dataset)
        labels = exam.labels[positions].to(images.device)
        logits = model(images)
        losses.append(nn.functional.cross_entropy(logits, labels, reduction="none"))
        correct.append((logits.argmax(dim=1) == labels) & ~logits.isnan().any(dim=1))
    return torch.cat(correct).cpu().double(), torch.cat(losses).cpu().double()
