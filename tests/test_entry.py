"""An interrupt in the first instants, while the command line is being imported."""

from __future__ import annotations

import signal
import subprocess
import sys

HURRIED = """
import builtins, os, signal, sys
real = builtins.__import__
def interrupted(name, *rest, **more):
    if name == "sqlqueue.cli":
        os.kill(os.getpid(), signal.SIGINT)
    return real(name, *rest, **more)
builtins.__import__ = interrupted
from sqlqueue.entry import main
main()
"""


def test_an_interrupt_during_the_imports_is_quiet() -> None:
    done = subprocess.run([sys.executable, "-c", HURRIED], capture_output=True, check=False)
    assert done.returncode == -signal.SIGINT
    assert done.stderr == b""


def test_an_ignored_interrupt_stays_ignored() -> None:
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)" + HURRIED
    done = subprocess.run(
        [sys.executable, "-c", code, "--version"], capture_output=True, check=False
    )
    assert done.returncode == 0
    assert done.stdout.startswith(b"sqlqueue")
