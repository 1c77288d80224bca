"""A folder in which commands are typed, and the page that shows them with what they said.

Every command goes to a real shell; one that does not end as it is to ends the script.  What is not
here: which commands (`week.py`).
"""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SHOWN_AS = "/home/ada/paper"
WAIT_SECONDS = 120.0


class Replay:
    """The folder, its queue, and the page as far as it is written."""

    def __init__(self, folder: Path, head: str) -> None:
        self.folder = folder
        self.page = [head]
        self._shown: list[str] = []
        python = str(Path(sys.executable).parent)
        self._environment = {
            **{key: value for key, value in os.environ.items() if key != "SQLQUEUE_HOME"},
            "PATH": f"{python}{os.pathsep}{os.environ.get('PATH', '')}",
            "COLUMNS": "80",
            **{f"GIT_{who}_NAME": "Ada" for who in ("AUTHOR", "COMMITTER")},
            **{f"GIT_{who}_EMAIL": "ada@example.org" for who in ("AUTHOR", "COMMITTER")},
        }

    # --- the page -----------------------------------------------------------------------

    def day(self, title: str, text: str) -> None:
        self.tell(text, f"## {title}")

    def tell(self, text: str, title: str = "") -> None:
        """Closes what was shown, and says something about what comes."""
        if self._shown:
            self.page.append("```console\n" + "\n".join(self._shown) + "\n```")
            self._shown = []
        self.page += [each for each in (title, text) if each]
        print(f"\n{title}\n{text}" if title else f"\n{text}", flush=True)

    def show(self, text: str) -> None:
        text = re.sub(r"[ \t]+$", "", text.replace(str(self.folder), SHOWN_AS), flags=re.MULTILINE)
        self._shown += text.rstrip("\n").splitlines()
        print(text.rstrip("\n"), flush=True)

    # --- the shell ----------------------------------------------------------------------

    def type(self, command: str, status: int = 0) -> str:
        """What a shell says to it; ends the script where it ends otherwise than with `status`."""
        self.show(f"$ {command}")
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command], cwd=self.folder, env=self._environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False,
        )  # fmt: skip
        self.show(done.stdout)
        if done.returncode != status:
            sys.exit(f"\nended with {done.returncode}, not {status}: {command}")
        return done.stdout

    def begin(self, command: str, output: str) -> subprocess.Popen[bytes]:
        """In the background, as with `&`."""
        self.show(f"$ {command} &")
        with (self.folder / output).open("wb") as said:
            return subprocess.Popen(
                command.split(), cwd=self.folder, env=self._environment, stdout=said, stderr=said
            )

    def figures(self) -> dict[str, Any]:
        """What `status --json` says; not shown."""
        found: dict[str, Any] = json.loads(self._quietly("status", "--json"))
        return found

    def _quietly(self, *arguments: str) -> str:
        return subprocess.run(
            ["sqlqueue", *arguments], cwd=self.folder, env=self._environment, text=True,
            stdout=subprocess.PIPE, check=True,
        ).stdout  # fmt: skip

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def edit(self, name: str, before: str, after: str) -> None:
        """Changes a file as a person does in an editor, and shows the lines."""
        path = self.folder / name
        text = path.read_text(encoding="utf-8")
        need(before in text, f"{name} has no {before!r}")
        path.write_text(text.replace(before, after), encoding="utf-8")
        self.show(f"$ $EDITOR {name}")
        self.show("\n".join([*(f"-{each}" for each in before.splitlines()),
                             *(f"+{each}" for each in after.splitlines())]))  # fmt: skip

    # --- what is really there -------------------------------------------------------------

    def rows(self, directory: str) -> list[dict[str, str]]:
        """The CSV of a directory, read as any program reads it."""
        path = self.folder / "results" / directory / "final_results.csv"
        with path.open(newline="", encoding="utf-8") as lines:
            return list(csv.DictReader(lines))

    def expect(self, **rows: int) -> None:
        """So many rows, each of another cell, in each directory; and `verify` finds nothing."""
        for directory, count in rows.items():
            found = self.rows(directory)
            signatures = {each["signature"] for each in found}
            need(len(found) == len(signatures) == count, f"{directory}: {len(found)} rows")
        self._quietly("verify")

    def until(self, what: str, is_so: Any) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not is_so():
            need(time.monotonic() < deadline, f"{what}: not within {WAIT_SECONDS:g} s")
            time.sleep(0.1)


def need(it: bool, why: str) -> None:
    if not it:
        sys.exit(f"\nnot as it should be: {why}")


def end_manager(folder: Path) -> None:
    """The manager of the week, if there is one."""
    found = folder / ".sqlqueue" / "manager.json"
    try:
        os.kill(int(json.loads(found.read_text())["pid"]), signal.SIGTERM)
    except (OSError, ValueError, KeyError):
        return
