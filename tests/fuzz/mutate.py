"""Inputs that get past the first check: mutations of the tree that a text means.

Blind mutations seldom leave JSON or YAML that still parses; these change a value, a key or
a line of a good one.  What is not here: mutations of bytes (the fuzzer's own).
"""

from __future__ import annotations

import json
import random
import re
from typing import Any

ODD: list[Any] = [
    None, True, False, 0, -1, 2**53, 2**53 + 1, 2**63, -(2**63) - 1, 10**40, 0.0, -0.0, 1e308,
    5e-324, float("nan"), float("inf"), float("-inf"), "", " ", "\x00", "../../x", "/etc/passwd",
    "a\nb", "\x1b[2J", "\ud800", "\u202e", "é" * 150, "w" * 301, [], {}, [[]], [{}], "0" * 32,
    "hello", "gpu", {"type": "hello"}, {"a": {"b": [1, None]}},
]  # fmt: skip
WORDS = [
    "type", "hello", "token", "announce", "worker_id", "holds", "request_task", "count", "wait",
    "submit_result", "task_id", "result_data", "attempt", "signature", "task_failed", "error",
    "outcome", "OOM", "release", "heartbeat", "tasks", "metrics", "status", "names", "add_tasks",
    "experiments", "parameters", "repair", "welcome", "role", "no_task", "done", "ack", "cancel",
    "phases", "actions", "code", "message", "retryable", "prepare_directories", "output_dirs",
]  # fmt: skip


def as_json(data: bytes, chance: random.Random) -> bytes | None:
    """One of its lines with a few values changed; None when it holds no JSON."""
    lines = data.split(b"\n")
    index = chance.randrange(len(lines))
    try:
        tree = json.loads(lines[index])
    except (ValueError, RecursionError):
        return None
    for _ in range(chance.choice((1, 1, 2, 4))):
        tree = changed(tree, chance)
    try:
        lines[index] = json.dumps(tree, ensure_ascii=chance.random() < 0.5).encode(
            errors="surrogatepass"
        )
    except (ValueError, RecursionError):
        return None
    return b"\n".join(lines)


def changed(tree: Any, chance: random.Random) -> Any:
    """The tree with one value, key or entry changed."""
    inside = isinstance(tree, dict | list) and tree and chance.random() < 0.8
    if not inside:
        return chance.choice((*ODD, *WORDS))
    if isinstance(tree, list):
        index = chance.randrange(len(tree))
        return [*tree[:index], *_altered(tree[index], chance), *tree[index + 1 :]]
    name = chance.choice(list(tree))
    rest = {key: value for key, value in tree.items() if key != name}
    picked = chance.random()
    if picked < 0.1:
        return rest
    if picked < 0.2:
        return rest | {chance.choice(WORDS): tree[name]}
    if picked < 0.3:
        return tree | {chance.choice(WORDS): chance.choice(ODD)}
    return tree | {name: changed(tree[name], chance)}


def _altered(value: Any, chance: random.Random) -> list[Any]:
    picked = chance.random()
    if picked < 0.15:
        return []
    return [value, value] if picked < 0.3 else [changed(value, chance)]


PIECES = [
    "&a ", "*a", "<<: *a", "<<: [*a, *a]", "!!python/object:os.system ", "!!binary ", "? ", "- ",
    ": ", "[", "]", "{", "}", "'", '"', "|\n ", ">-\n ", "# ", "---\n", "...\n", "\t", "\ufeff",
    "\x85", "\u2028", "1e400", "0x", "1_000", "012", ".inf", ".nan", "9" * 401,
    "~", "null", "true", "yes",
    "seed: [1, 2, 3]", "seeds: [1]", "exclude: [{seed: 1}]", "include: [{seed: 9}]",
    "zip: [{seed: [1], x: [2]}]",
    "defaults:", "output_dir: 'r_{seed}'", "output_dir: '{dataset}/../{x}'", "experiment: m:open",
    "experiment: m:f", "priority: 3", "timeout: 1e3", "max_attempts: 2", "combinations:", "p:",
    "seeds: range(3)", "extends: base.yaml", "x.y: [1, 2]", "x.y.z: 3", "x: {y: 1}", "z.a: 1",
    "x: [{y: 1}, {z: 2}, {}]", "when: {if: {seed: 1}, then: {x: [1, 2]}}",
    "when: [{if: {seed: [1, 2], dataset: mnist}, then: {x.y: 5, width: [1, 2]}}]",
    "exclude: [{x.y: 1, seed: 2}, {x: [{y: 1}, 2]}]", "decay: 'linspace(0, 1, 3)'",
    "{seed: &a [1, 2]}", "x: {y: [1, {z: 2}]}", "dataset: [digits, mnist]", "decay: 5e-4",
]  # fmt: skip


TOKEN = re.compile(r"[^\s:,\[\]{}#&*\"']+")
VALUES = [
    "1", "1.0", "-0", "1e0", "5e-4", "x", "true", "null", "~", ".nan", ".inf", "012", "0x1f", "''",
    "[]", "[1, 1.0, x]", "[1, [2]]", "{a: 1}", "{a: {b: [1]}}", "*base", "'{seed}'", "'a/../b'",
    "'\u202e'", '"\\e[2J"', "2023-01-01", "12:30", "9" * 30, "seed", "dataset", "m:f", "m:open",
    "combinations", "poisoning", "output_dir", "defaults", "exclude", "include", "zip", "digits",
    "when", "if", "then", "extends", "range(3)", "'range(1, 4)'", "'linspace(0, 1, 3)'",
    "'logspace(-2, 0, 3)'", "range(0)", "'range(1, 9, 0)'", "range(9999999999)", "rang(3)",
    "range(", "x.y", "x", "x.y.z", ".x", "x.", "{y: 1, z: 2}", "{a.b: 1}",
]  # fmt: skip


def as_yaml(data: bytes, chance: random.Random) -> bytes:
    """Its text with words replaced, or lines doubled, dropped, indented or moved."""
    if chance.random() < 0.6:
        text = data.decode(errors="surrogateescape")
        words = list(TOKEN.finditer(text))
        if words:
            picked = chance.choice(words)
            text = text[: picked.start()] + chance.choice(VALUES) + text[picked.end() :]
            return text.encode(errors="surrogateescape")
    lines = data.decode(errors="surrogateescape").split("\n")
    for _ in range(chance.choice((1, 1, 1, 3))):
        _edit(lines, chance)
    return "\n".join(lines).encode(errors="surrogateescape")


def _edit(lines: list[str], chance: random.Random) -> None:
    index = chance.randrange(len(lines)) if lines else 0
    match chance.randrange(6):
        case 0 if len(lines) > 1:
            del lines[index]
        case 1 if lines:
            lines.insert(chance.randrange(len(lines)), lines[index])
        case 2 if lines:
            lines[index] = "  " + lines[index]
        case 3 if lines:
            lines[index] = lines[index].removeprefix("  ")
        case 4 if lines:
            at = chance.randint(0, len(lines[index]))
            piece = chance.choice(PIECES)
            lines[index] = lines[index][:at] + piece + lines[index][at:]
        case _:
            lines.insert(index, " " * chance.choice((0, 2, 4, 6)) + chance.choice(PIECES))
