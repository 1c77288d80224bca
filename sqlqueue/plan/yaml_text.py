"""YAML text -> a tree that knows its lines, and nothing that YAML can hide.

Promises: a key given twice in one mapping is an error; `<<` merges and aliases work, and
cost no more than they look (limits on length, depth and size as if written out); every
error is a `TextError` with its line; no hang, no recursion limit, no object construction.

Keys are always texts, as written: `1:` is the key `1`, `on:` the key `on`.
What is not here: what the keys mean (`blocks.py`), what scalars mean (`scalars.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import yaml
from yaml.events import (
    AliasEvent,
    CollectionEndEvent,
    DocumentStartEvent,
    Event,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceStartEvent,
)

from sqlqueue.plan.ranges import is_cut, weight
from sqlqueue.plan.scalars import Unclear, resolve
from sqlqueue.plan.tree import Entries, Entry, Items, Scalar, TextError, Tree

MAX_CHARACTERS: Final = 4 * 2**20
MAX_DEPTH: Final = 40
MAX_NODES: Final = 1_000_000
"""Values in one file, aliases and ranges counted as if written out."""

_TEXT_TAGS: Final = ("!", "tag:yaml.org,2002:str")
_COLLECTION_TAGS: Final = ("!", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def parse(text: str) -> Entries:
    """The top mapping of a file; raises `TextError` with everything that is wrong."""
    if len(text) > MAX_CHARACTERS:
        raise TextError((1, f"longer than {MAX_CHARACTERS} characters; split the file"))
    if odd := _SURROGATE.search(text):
        line = text.count("\n", 0, odd.start()) + 1
        raise TextError((line, f"found the character {odd[0]!a}, expected UTF-8 text"))
    composer = _Composer(text.removeprefix("\ufeff"))
    try:
        tree = composer.document()
    except TextError as error:
        composer.problems += error.problems
    except yaml.MarkedYAMLError as error:
        composer.problems.append(_marked(error))
    except yaml.reader.ReaderError as error:
        composer.problems.append(_unreadable(error, text))
    if composer.problems:
        raise TextError(*composer.problems)
    return tree


def _rejoined(found: Entries, key: str, value: Tree) -> list[str]:
    """The keys, this one the last, that are the rest of a range which YAML cut at its commas.

    They are taken out of `found` then, and the range says what is wrong with it.
    """
    first = len(found.entries)
    if not (key.endswith(")") and _is_nothing(value)):
        return []
    while first and _is_nothing(found.entries[first - 1].value):
        first -= 1
    begun = found.entries[first - 1].value if first else None
    if not (isinstance(begun, Scalar) and begun.plain and is_cut(begun.text)):
        return []
    rest = [*(each.key for each in found.entries[first:]), key]
    del found.entries[first:]
    text = ", ".join([begun.text, *rest])
    begun.complaint = f'found a range that YAML cut at its comma; put it into quotes: "{text}"'
    begun.value = None
    return rest


def _is_nothing(tree: Tree) -> bool:
    return isinstance(tree, Scalar) and tree.plain and not tree.text


def _unreadable(error: yaml.reader.ReaderError, text: str) -> tuple[int, str]:
    line = text.count("\n", 0, error.position) + 1
    found = f"found the character {chr(error.character)!a}"
    return line, f"{found}, which YAML does not allow; remove it"


def _marked(error: yaml.MarkedYAMLError) -> tuple[int, str]:
    """Line and message of a syntax error, with where the surrounding thing began."""
    mark, began = error.problem_mark or error.context_mark, error.context_mark
    line = mark.line + 1 if mark else 1
    around = f" {error.context}" if error.context else ""
    if around and began and began.line + 1 != line:
        around += f" that begins in line {began.line + 1}"
    cure = "; use spaces instead of the tab" if r"'\t'" in str(error.problem) else ""
    return line, f"not YAML: {error.problem}{around}{cure}"


class _Composer:
    """Events of the YAML parser -> the tree.  One for one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.events: Iterator[Event] = iter(())
        self.anchors: dict[str, Tree | None] = {}
        self.problems: list[tuple[int, str]] = []

    def document(self) -> Entries:
        self.events = yaml.parse(self.text, Loader=yaml.SafeLoader)
        found = self._single()
        if not isinstance(found, Entries):
            raise TextError((found.line if found else 1, _NO_MAPPING))
        return found

    def _single(self) -> Tree | None:
        """The only document's tree; None when there is no document."""
        tree: Tree | None = None
        for event in self.events:
            if isinstance(event, DocumentStartEvent):
                if tree is not None:
                    problem = "found a second document, expected one; use a file for each"
                    raise TextError((_line(event), problem))
                tree = self._node(next(self.events), 1)
        return tree

    def _node(self, event: Event, level: int) -> Tree:
        if level > MAX_DEPTH:
            raise TextError((_line(event), f"nested deeper than {MAX_DEPTH} levels"))
        if isinstance(event, AliasEvent):
            return self._alias(event)
        anchor = event.anchor if isinstance(event, NodeEvent) else None
        if anchor is not None:
            self.anchors[anchor] = None
        tree = self._content(event, level)
        if anchor is not None:
            self.anchors[anchor] = tree
        if tree.size > MAX_NODES:
            raise TextError((tree.line, f"more than {MAX_NODES} values, aliases written out"))
        if level + tree.depth > MAX_DEPTH + 1:
            raise TextError((tree.line, f"nested deeper than {MAX_DEPTH} levels"))
        return tree

    def _content(self, event: Event, level: int) -> Tree:
        if isinstance(event, MappingStartEvent):
            self._check_tag(event)
            return self._mapping(event, level)
        if isinstance(event, SequenceStartEvent):
            self._check_tag(event)
            return self._sequence(event, level)
        assert isinstance(event, ScalarEvent)
        return _scalar(event)

    def _check_tag(self, event: MappingStartEvent | SequenceStartEvent) -> None:
        if event.tag is not None and event.tag not in _COLLECTION_TAGS:
            self.problems.append((_line(event), _tagged(event.tag)))

    def _alias(self, event: AliasEvent) -> Tree:
        name = event.anchor
        if name not in self.anchors:
            raise TextError((_line(event), f"found *{name}, but no &{name} stands before it"))
        tree = self.anchors[name]
        if tree is None:
            raise TextError((_line(event), f"found *{name} inside of what it names"))
        return tree

    def _sequence(self, event: Event, level: int) -> Items:
        found = Items(_line(event))
        for each in self.events:
            if isinstance(each, CollectionEndEvent):
                break
            item = self._node(each, level + 1)
            found.items.append(item)
            _grow(found, item)
        return found

    def _mapping(self, event: MappingStartEvent, level: int) -> Entries:
        found = Entries(_line(event))
        merges: list[Tree] = []
        seen: dict[str, int] = {}
        for each in self.events:
            if isinstance(each, CollectionEndEvent):
                break
            line, is_merge = _line(each), _is_merge(each)
            key = self._key(each, level)
            value = self._node(next(self.events), level + 1)
            _grow(found, value)
            if event.flow_style and key is not None and (rest := _rejoined(found, key, value)):
                seen = {name: at for name, at in seen.items() if name not in rest}
                continue
            if key is not None and key in seen:
                self.problems.append((line, _twice(key, seen[key])))
            elif is_merge:
                merges.append(value)
            elif key is not None:
                found.entries.append(Entry(key, line, value))
            if key is not None:
                seen.setdefault(key, line)
        return self._merged(found, merges)

    def _key(self, event: Event, level: int) -> str | None:
        tree = self._node(event, level + 1)
        if isinstance(tree, Scalar):
            if _SURROGATE.search(tree.text):
                self.problems.append((tree.line, _unprintable(tree.text)))
            return tree.text
        self.problems.append((_line(event), "found a list or mapping as a key, expected a name"))
        return None

    def _merged(self, found: Entries, merges: list[Tree]) -> Entries:
        """`found` with what `<<` brings in; its own keys win, then the first source."""
        own = {each.key for each in found.entries}
        for source in (each for tree in merges for each in _sources(tree)):
            if not isinstance(source, Entries):
                problem = "expected a mapping, or a list of mappings, after <<"
                self.problems.append((source.line, problem))
                continue
            found.entries += [each for each in source.entries if each.key not in own]
            own.update(each.key for each in source.entries)
        return found


_NO_MAPPING: Final = "expected phases (a mapping) at the top of the file, found none"


def _sources(tree: Tree) -> list[Tree]:
    return tree.items if isinstance(tree, Items) else [tree]


def _line(event: Event) -> int:
    mark = event.start_mark
    return mark.line + 1 if mark else 1


def _grow(parent: Items | Entries, child: Tree) -> None:
    parent.size += child.size
    parent.depth = max(parent.depth, child.depth + 1)


def _is_merge(event: Event) -> bool:
    return isinstance(event, ScalarEvent) and event.value == "<<" and bool(event.implicit[0])


def _twice(key: str, first: int) -> str:
    return f"key {key!r}: found twice in one mapping (first in line {first}); remove one"


def _tagged(tag: str) -> str:
    short = tag.replace("tag:yaml.org,2002:", "!!")
    return f"found the tag {short}, expected a plain value; remove the tag"


def _scalar(event: ScalarEvent) -> Scalar:
    text, line = str(event.value), _line(event)
    if event.tag in _TEXT_TAGS or (event.tag is None and not event.implicit[0]):
        complaint = _unprintable(text)
        return Scalar(text, line, text, plain=False, complaint=complaint, size=weight(text))
    if event.tag is not None:
        return Scalar(None, line, text, complaint=_tagged(event.tag))
    try:
        return Scalar(resolve(text), line, text, size=weight(text))
    except Unclear as unclear:
        return Scalar(None, line, text, complaint=str(unclear))


def _unprintable(text: str) -> str:
    return "found half of a surrogate pair, expected characters" if _SURROGATE.search(text) else ""
