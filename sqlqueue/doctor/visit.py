"""`sqlqueue doctor`, as a person sees it.

What is not here: the examination, and its words.
"""

from __future__ import annotations

import sys

from sqlqueue.doctor import words
from sqlqueue.doctor.examination import Examination, wrong
from sqlqueue.errors import EXIT_DONE, EXIT_FAILED
from sqlqueue.figures import plural
from sqlqueue.home import Home
from sqlqueue.shell import notice
from sqlqueue.tables import page_of


def visit(home: Home, named: bool, as_json: bool) -> int:
    """Prints what is wrong; 1 if anything is worse than a note."""
    if sys.stderr is not None and sys.stderr.isatty():
        notice("examining; torch is loaded too, as a worker would: that may take some seconds")
    examination = Examination(home, named)
    findings = examination.run()
    if as_json:
        print(words.as_json(findings, str(home.path), not wrong(findings)), flush=True)
    else:
        directories = plural(examination.directories, "output directory", "output directories")
        examined = f"{home.path}, {directories}, this machine"
        print("\n".join(words.lines(findings, examined, page_of(sys.stdout))), flush=True)
    return EXIT_FAILED if wrong(findings) else EXIT_DONE
