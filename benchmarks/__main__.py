"""`python -m benchmarks`: measures, and writes the page and its pictures.

--quick          everything once and small: only shows that it runs; no peers, no pictures
--million        `init` of a million cells too, which takes minutes
--only PARTS     some parts, comma between: the page has what they measured
--output FILE    where the page goes (default: docs/PERFORMANCE.md; `-`: the terminal)
--folder DIR     where the queues are made: its disk is what is measured (default: here)
--keep FILE      the figures as JSON besides
--from FILE      measures nothing: the page of figures that were kept
"""

from __future__ import annotations

import argparse
import datetime
import os
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks import growing, machine, scale, starting, throughput, training, whole
from benchmarks.measure import Figures, seconds_of
from benchmarks.page import Run, page

PARTS: dict[str, Callable[[Path, bool], Figures]] = {
    "results": throughput.measure,
    "whole": whole.measure,
    "starting": starting.measure,
    "growing": growing.measure,
    "scale": scale.measure,
    "training": training.measure,
}
"""By name what is measured, in this order; each takes a folder, and whether it is to be quick.
Another part is added here, its section in `page.py`, its goals in `goals.py`."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--million", action="store_true")
    parser.add_argument("--only", default=",".join(PARTS), metavar="PARTS")
    parser.add_argument("--output", default="docs/PERFORMANCE.md", metavar="FILE")
    parser.add_argument("--folder", type=Path, default=Path.cwd(), metavar="DIR")
    parser.add_argument("--keep", type=Path, metavar="FILE")
    parser.add_argument("--from", type=Path, dest="kept", metavar="FILE")
    return parser.parse_args()


def main() -> None:
    given = arguments()
    folder = given.folder.resolve()
    before, begun = os.getloadavg()[0], datetime.datetime.now()
    found = Figures.load(given.kept.read_text()) if given.kept else measured(given, folder)
    if given.keep:
        given.keep.write_text(found.dump())
    run = Run(
        machine=machine.described(folder),
        command=" ".join(["make bench", *_said(given)]),
        date=f"{datetime.date.today():%d %B %Y}",
        minutes=(datetime.datetime.now() - begun).total_seconds() / 60,
        quick=given.quick,
        load=(before, os.getloadavg()[0]),
        found=found,
    )
    write(run, given.output, draw=not given.quick and given.output != "-")


def write(run: Run, output: str, draw: bool) -> None:
    if output == "-":
        print(page(run, pictures=False))
        return
    if draw:
        from benchmarks import plots

        plots.draw(run.found, Path(output).with_name("performance"))
    Path(output).write_text(page(run, pictures=draw), encoding="utf-8")
    say(f"written: {output}")


def measured(given: argparse.Namespace, folder: Path) -> Figures:
    found = Figures()
    for name in given.only.split(","):
        say(f"{name} ...")
        seconds = seconds_of(lambda name=name: found.update(PARTS[name](folder, given.quick)))
        say(f"{name}: {seconds:.0f} s")
    if given.million:
        growing.million(folder, found)
    return found


def _said(given: argparse.Namespace) -> list[str]:
    """How this was asked for, without what names folders of this machine."""
    said = [f"--{each}" for each in ("quick", "million") if getattr(given, each)]
    return [f'ARGS="{" ".join(said)}"'] if said else []


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
