"""`make audit`: a vulnerable package fails it, and so does one that nobody could be asked about.

The real pip-audit, and a service of our own on loopback that speaks as the public one does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any, ClassVar

import pytest

from source import REPOSITORY

VULNERABILITY = {
    "id": "TEST-2026-1",
    "summary": "a test",
    "modified": "2026-01-01T00:00:00Z",
    "affected": [
        {
            "package": {"name": "beta", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.0"}]}],
            "versions": ["2.0"],
        }
    ],
}


class Service(BaseHTTPRequestHandler):
    """Knows of one vulnerability, in beta 2.0."""

    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(f"{said['package']['name']} {said['version']}")
        found = self.asked[-1] == "beta 2.0"
        data = json.dumps({"vulns": [VULNERABILITY]} if found else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


class Server(HTTPServer):
    """Asks no name server for its own name."""

    def server_bind(self) -> None:
        TCPServer.server_bind(self)


@pytest.fixture
def service() -> Iterator[str]:
    Service.asked.clear()
    server = Server(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
    server.shutdown()
    thread.join()
    server.server_close()


def audit(url: str, file: Path, pins: str) -> tuple[int, str]:
    file.write_text(pins)
    own = {key: value for key, value in os.environ.items() if "proxy" not in key.lower()}
    done = subprocess.run(
        [sys.executable, REPOSITORY / "tools" / "audit.py", "--file", file, "-s", "osv",
         "--osv-url", url, "--timeout", "5"],
        env=own, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_nothing_known_passes_and_each_was_asked_about(service: str, tmp_path: Path) -> None:
    status, said = audit(service, tmp_path / "pins.txt", "alpha==1.0\nbeta==3.0\n")
    assert (status, Service.asked) == (0, ["alpha 1.0", "beta 3.0"]), said
    assert "2 packages" in said


@pytest.mark.slow
def test_a_vulnerable_one_fails_and_is_named(service: str, tmp_path: Path) -> None:
    status, said = audit(service, tmp_path / "pins.txt", "alpha==1.0\nbeta==2.0\n")
    assert status == 1
    assert "VULNERABLE: beta 2.0: TEST-2026-1; cured in 3.0" in said


@pytest.mark.slow
def test_a_service_that_cannot_be_asked_is_no_pass(tmp_path: Path) -> None:
    status, said = audit("http://127.0.0.1:9/v1/query", tmp_path / "pins.txt", "alpha==1.0\n")
    assert status == 2
    assert "NOT ASKED" in said
    assert "Traceback" not in said


def test_what_the_service_does_not_know_is_no_pass() -> None:
    sys.path.insert(0, str(REPOSITORY / "tools"))
    try:
        import audit as tool
    finally:
        sys.path.remove(str(REPOSITORY / "tools"))
    skipped = {"name": "alpha", "skip_reason": "alpha 1.0 was not found"}
    answers = tool.sorted_out([skipped, {"name": "beta", "version": "1", "vulns": []}])
    assert (answers.good, answers.bad, answers.unknown) == (["beta"], [], [skipped["skip_reason"]])
    assert tool.status(answers) == 2
    assert tool.status(tool.Answers()) == 2, "nothing was asked about at all"
    assert "NOT ASKED about 1" in "\n".join(tool.lines(answers, Path("x.txt")))
