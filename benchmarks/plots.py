"""The pictures of the page, as small SVG files that are the same for the same figures.

matplotlib draws them, which only `make bench` installs.  What is not here: the page, measuring.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams.update({
    "svg.hashsalt": "sqlqueue", "svg.fonttype": "none", "font.family": "sans-serif",
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.color": "#e4e4e4", "grid.linewidth": 0.8, "axes.axisbelow": True,
    "axes.edgecolor": "#888888", "figure.constrained_layout.use": True,
    "legend.frameon": False, "xtick.color": "#444444", "ytick.color": "#444444",
})  # fmt: skip

from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator  # noqa: E402

from benchmarks.goals import GOALS  # noqa: E402
from benchmarks.measure import Figures, Series, short  # noqa: E402
from benchmarks.peers import programs  # noqa: E402

BLUE, LIGHT, RED, GREY = "#1f6fb4", "#9ec5e5", "#c8493a", "#777777"
BASELINES = {
    "batched": ("bare loop, 64 at a time", GREY, "--"),
    "bare": ("bare loop, one at a time", GREY, "-."),
    "naive": ("naive (pandas)", GREY, ":"),
}
WORKERS = 2
PLAIN = {"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8}
NUMBER = FuncFormatter(lambda value, _: short(value))
Axes = Any


def draw(found: Figures, folder: Path) -> None:
    """Every picture of which something was measured."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (needs, picture, size) in PICTURES.items():
        if found.has(needs):
            figure, axes = plt.subplots(figsize=size)
            picture(found, axes)
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            plt.close(figure)


def _band(axes: Axes, x: list[float], each: list[Series], label: str) -> None:
    """Medians as a line, smallest to largest as a band."""
    axes.fill_between(x, [min(s.values) for s in each], [max(s.values) for s in each],
                      color=LIGHT, alpha=0.5, linewidth=0)  # fmt: skip
    axes.plot(x, [s.median for s in each], color=BLUE, marker="o", label=label)


def _counted(axes: Axes, counts: list[float]) -> None:
    """A logarithmic axis that names these counts and no others."""
    axes.set_xscale("log")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(counts, [f"{int(each):,}" for each in counts])


def _results(found: Figures, axes: Axes) -> None:
    counts = sorted(float(each) for each in found.below("submit/") if each.isdigit())
    for way, (label, color, style) in BASELINES.items():
        axes.axhline(found[f"submit/{way}"].median, color=color, linestyle=style, linewidth=1.3)
        axes.annotate(label, (counts[-1], found[f"submit/{way}"].median), xytext=(0, 3),
                      textcoords="offset points", ha="right", color=color, fontsize=9)  # fmt: skip
    _band(axes, counts, [found[f"submit/{int(each)}"] for each in counts], "sqlqueue")
    place = (counts[-2], found[f"submit/{int(counts[-2])}"].median)
    axes.annotate("sqlqueue", place, xytext=(0, 8), textcoords="offset points", color=BLUE)
    for peer in found.below("whole/peer/"):
        rate = found[f"whole/peer/{peer}"].median
        axes.plot(WORKERS, rate, color=RED, marker="D", markersize=5)
        axes.annotate(programs.BY_NAME[peer].short, (WORKERS, rate), xytext=(7, -3),
                      textcoords="offset points", color=RED, fontsize=8, bbox=PLAIN)  # fmt: skip
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(NUMBER)
    _counted(axes, counts)
    axes.set_xlabel("clients (peers: two workers, whole tasks)")
    axes.set_ylabel("results per second")


def _peers(found: Figures, axes: Axes) -> None:
    """Bars, the quickest on top; what is ours in blue."""
    ours = {"whole/together": "sqlqueue, 64 light clients"}
    ours |= {
        f"whole/work/{each}": f"sqlqueue, {_crew(each)}" for each in found.below("whole/work/")
    }
    named = ours | {f"whole/peer/{each}": programs.BY_NAME[each].short
                    for each in found.below("whole/peer/")}  # fmt: skip
    keys = sorted(named, key=lambda key: found[key].median)
    for place, key in enumerate(keys):
        rates = found[key]
        color = BLUE if key in ours else "#b9b9b9"
        axes.barh(place, rates.median, color=color, height=0.66)
        axes.plot([min(rates.values), max(rates.values)], [place] * 2, color="#333333", linewidth=1)
        axes.annotate(short(rates.median), (max(rates.values), place), xytext=(5, 0),
                      textcoords="offset points", va="center", fontsize=9)  # fmt: skip
    axes.set_yticks(range(len(keys)), [named[key] for key in keys])
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(NUMBER)
    axes.margins(x=0.12)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("whole tasks per second")


def _crew(key: str) -> str:
    workers, slots = key.split("x")
    return f"{workers} x {slots} runner{'s' * (key != '1x1')}"


def _rows(found: Figures, axes: Axes) -> None:
    """What a result costs, in terms of what it costs beside few rows in the same round."""
    sizes = [float(each) for each in found.below("rows/64/")]
    for clients, color, marker in ((64, BLUE, "o"), (1, RED, "s")):
        few = found[f"rows/{clients}/{int(sizes[0])}"]
        costs = [few.over(found[f"rows/{clients}/{int(size)}"]) for size in sizes]
        axes.errorbar(
            sizes, [each.median for each in costs],
            [[each.median - min(each.values) for each in costs],
             [max(each.values) - each.median for each in costs]],
            color=color, marker=marker, capsize=4, label=f"{clients} client{'s' * (clients > 1)}",
        )  # fmt: skip
    axes.axhline(1.1, color=GREY, linestyle="--", linewidth=1.2)
    axes.annotate("goal: at most 1.1", (sizes[0], 1.1), xytext=(0, 3), color=GREY,
                  textcoords="offset points", fontsize=9)  # fmt: skip
    axes.set_ylim(0, 1.3)
    _counted(axes, sizes)
    axes.set_xlabel("rows in the CSV")
    axes.set_ylabel("cost of a result, to that beside few")
    axes.legend(loc="lower right")


def _claims(found: Figures, axes: Axes) -> None:
    sizes = sorted(float(each) for each in found.below("claim/store_us/"))
    _band(axes, sizes, [found[f"claim/store_us/{int(each)}"] for each in sizes], "sqlqueue")
    bare = [found[f"claim/bare_us/{int(each)}"].median for each in sizes]
    axes.plot(sizes, bare, color=GREY, linestyle="--", marker=".", label="bare indexed update")
    axes.axhline(100, color=RED, linestyle=":", linewidth=1.2)
    axes.annotate("goal at 1,000,000", (sizes[0], 100), xytext=(0, 3), color=RED,
                  textcoords="offset points", fontsize=9)  # fmt: skip
    axes.set_ylim(bottom=0)
    _counted(axes, sizes)
    axes.set_xlabel("tasks in the queue")
    axes.set_ylabel("microseconds in the database")
    axes.legend(loc="best")


def _ratios(found: Figures, axes: Axes) -> None:
    """Boxes of all rounds, the goals on a common axis: better is to the right of the line."""
    boxes, names = [], []
    for goal in reversed(GOALS):
        if found.has(*goal.needs):
            values = goal.figure(found).values
            better = [each / goal.limit if goal.least else goal.limit / each
                      for each in values if each > 0]  # fmt: skip
            if better:
                boxes.append(better)
                names.append(goal.what.replace("`", ""))
    drawn = axes.boxplot(boxes, vert=False, whis=(0, 100), widths=0.6, patch_artist=True,
                         medianprops={"color": "#222222"})  # fmt: skip
    for box, values in zip(drawn["boxes"], boxes, strict=True):
        box.set_facecolor(LIGHT if Series(values).median >= 1 else "#efb8b0")
        box.set_edgecolor(GREY)
    axes.axvline(1, color=RED, linewidth=1.3)
    axes.set_yticks(range(1, len(names) + 1), names)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} x"))
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("times as good as the goal asks (left of the line: missed)")


Draw = Callable[[Figures, Axes], None]
PICTURES: dict[str, tuple[str, Draw, tuple[float, float]]] = {
    "ratios": ("submit/bare", _ratios, (8.5, 6.4)),
    "results": ("submit/bare", _results, (7.5, 4.2)),
    "peers": ("whole/together", _peers, (7.5, 3.6)),
    "rows": ("status/idle_ms", _rows, (6.0, 3.4)),
    "claims": ("status/idle_ms", _claims, (6.0, 3.4)),
}
"""By name: what must have been measured, who draws it, inches."""
