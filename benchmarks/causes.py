"""Why a goal is missed, in a sentence each, by the goal's key (`goals.py`).

Filled in by whoever knows, after a run on a quiet machine; the page takes a sentence from here only
while its goal is missed.  What is not here: figures, which would be of another run.
"""

from __future__ import annotations

UNKNOWN = "The cause is not known yet."

CAUSES: dict[str, str] = {}
