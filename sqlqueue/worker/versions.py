"""What an attempt ran with: the versions of Python, sqlqueue and the libraries that are loaded.

What is not here: the version of the experiment's own code (`code.py`).
"""

from __future__ import annotations

import platform
import sys
from functools import cache
from importlib import metadata
from typing import Final

LIBRARIES: Final = (
    *("torch", "torchvision", "numpy", "scipy", "sklearn", "pandas"),
    *("jax", "flax", "tensorflow", "keras", "transformers", "lightning", "xgboost"),
)
"""Those that may decide what is measured; told where the experiment has imported them."""
LONGEST: Final = 100


@cache
def own() -> dict[str, str]:
    """Of sqlqueue."""
    try:
        return {"sqlqueue": metadata.version("sqlqueue")}
    except metadata.PackageNotFoundError:
        return {"sqlqueue": "unknown"}


def loaded() -> dict[str, str]:
    """Of all that this process runs with; imports nothing."""
    found = {"python": platform.python_version(), **own()}
    for name in LIBRARIES:
        version = getattr(sys.modules.get(name), "__version__", None)
        if isinstance(version, str):
            found[name] = str(version)[:LONGEST]
    cuda = getattr(getattr(sys.modules.get("torch"), "version", None), "cuda", None)
    return found | ({"cuda": cuda} if isinstance(cuda, str) else {})
