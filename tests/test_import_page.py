"""What docs/IMPORT.md shows is what happens: its files are written and its commands typed."""

from __future__ import annotations

import re
import shlex

from source import REPOSITORY
from sqlqueue.plan.fitting import Kind
from support import Cli

PAGE = (REPOSITORY / "docs" / "IMPORT.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def test_the_example_of_the_page(cli: Cli) -> None:
    texts = [*blocks("yaml"), *blocks("python"), *blocks("csv")]
    names = ["grid.yaml", "train.py", "old.csv", "some.csv"]
    for name, text in zip(names, texts, strict=True):
        (cli.root / name).write_text(text)
    typed = [part for block in blocks("console") for part in block.split("$ sqlqueue ")[1:]]
    assert len(typed) == 5
    for part in typed:
        words, _, said = part.partition("\n")
        done = cli(*shlex.split(words))
        assert done.stderr == ""
        assert not said or done.stdout == said, words
    assert '"completed": 4' in cli.ok("status", "--json")


def test_every_kind_and_key_is_on_the_page() -> None:
    named = set(re.findall(r"`(\w+)`", PAGE))
    assert {each.value for each in Kind} <= named
    assert {"dry_run", "files", "counts", "phases", "delivered", "rows", "left_out"} <= named
