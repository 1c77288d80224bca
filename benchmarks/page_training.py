"""What the page says of the built-in experiment's training.

Pure.  What is not here: the other sections, and how they are put together (`page.py`).
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.measure import Figures, table


def training(found: Figures, _: Callable[[str, str], str]) -> str:
    """Rounds per second beside the straightforward loop."""
    shapes = found.below("training/product/")
    if not shapes:
        return ""
    rows = []
    for each in shapes:
        product, loop = found[f"training/product/{each}"], found[f"training/loop/{each}"]
        rows.append([each, product.text(), loop.text(), product.over(loop).text(" x")])
    head = ["cell", "`poisoning`", "straightforward loop", "ratio, round by round"]
    return f"""## Rounds of training

Rounds per second of the built-in experiment on the processor, with one thread, aggregation and
validation included, and of the loop that one writes first: a `DataLoader` per client over its
images, one model after another, with the same optimizer, clipping and aggregation. `mnist` has a
thousand made-up images here.

{table(head, rows)}"""
