"""`make audit`: asks whether anything that sqlqueue is built on has a known vulnerability.

`python tools/audit.py [--file FILE] [ARGUMENTS OF pip-audit]` asks about every version in
constraints.txt.  Exit status: 0 when every one was asked about and none is known to be
vulnerable, 1 when one is, 2 when the service could not be asked about all of them: what was not
asked about has not passed.  What is not here: the service, which is pip-audit's own choice.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

FILE = Path(__file__).resolve().parent.parent / "constraints.txt"
CLEAN: Final = 0
VULNERABLE: Final = 1
NOT_ASKED: Final = 2
MOST_NAMED: Final = 5


@dataclass
class Answers:
    """What was said of each package; `trouble` when nothing was said at all."""

    good: list[str] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    trouble: str = ""


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="audit", description="see tools/audit.py")
    parser.add_argument("--file", type=Path, default=FILE)
    options, further = parser.parse_known_args(words)
    answers = ask(options.file, further)
    print("\n".join(lines(answers, options.file)))
    return status(answers)


def status(answers: Answers) -> int:
    if answers.bad:
        return VULNERABLE
    return NOT_ASKED if answers.trouble or answers.unknown or not answers.good else CLEAN


def ask(file: Path, further: Sequence[str]) -> Answers:
    """pip-audit's answers, for exactly the versions in the file."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(file), "--no-deps",
               "--disable-pip", "--format", "json", "--progress-spinner", "off"]  # fmt: skip
    done = subprocess.run([*command, *further], capture_output=True, text=True, check=False)
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError, TypeError):
        said = done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"]
        return Answers(trouble=said[-1])
    return sorted_out(found)


def sorted_out(found: Sequence[dict[str, Any]]) -> Answers:
    answers = Answers()
    for each in found:
        if reason := each.get("skip_reason"):
            answers.unknown.append(str(reason))
        elif each.get("vulns"):
            answers.bad += [told(each, vulnerability) for vulnerability in each["vulns"]]
        else:
            answers.good.append(each["name"])
    return answers


def told(package: dict[str, Any], vulnerability: dict[str, Any]) -> str:
    cured = ", ".join(vulnerability.get("fix_versions") or []) or "no version yet"
    return f"{package['name']} {package['version']}: {vulnerability['id']}; cured in {cured}"


def lines(answers: Answers, file: Path) -> list[str]:
    if answers.trouble:
        return [f"audit: NOT ASKED: no package of {file.name} was asked about, since pip-audit "
                f"could not do it: {answers.trouble}"]  # fmt: skip
    said = [f"audit: VULNERABLE: {each}" for each in answers.bad]
    if answers.unknown:
        named = "\n".join(f"  {each}" for each in answers.unknown[:MOST_NAMED])
        rest = len(answers.unknown) - MOST_NAMED
        said.append(
            f"audit: NOT ASKED about {len(answers.unknown)} packages of {file.name}; the service "
            f"knows nothing of them or could not be reached:\n{named}"
            + (f"\n  and {rest} more" if rest > 0 else "")
        )
    said.append(
        f"audit: {len(answers.good)} packages of {file.name} were asked about and have no known "
        "vulnerability"
    )
    return said


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
