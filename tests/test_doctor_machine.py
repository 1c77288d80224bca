"""`doctor` on a machine that is wrong: its clock, limits, folders, variables and packages.

The real command line, since that is what inherits them.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from needs import need
from ward import Ward, ward

from sqlqueue import keys
from sqlqueue.disk import Disk
from sqlqueue.doctor import certificate, machine, packages
from sqlqueue.home import Home
from support import sqlqueue_command


@pytest.fixture
def patient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ward]:
    with ward(tmp_path, monkeypatch) as made:
        yield made


class Wrong(NamedTuple):
    """What is typed in the shell that will run the command; all that is then wrong."""

    before: str
    kinds: dict[str, str]
    program: str = ""


PROBLEM, WARNING, NOTE = "problem", "warning", "note"
WRONG = [
    Wrong(
        "ulimit -S -n 256; umask 000; export SQLQUEUE_TOKEN=secret\n"
        "export XDG_STATE_HOME=/proc/version\n"
        "echo 'raise OSError(7)' > $PYTHONPATH/torch.py",
        {"files-limit": WARNING, "umask": WARNING, "token-form": PROBLEM,
         "state-folder": WARNING, "torch-fails": WARNING},
    ),
    Wrong(
        "export SQLQUEUE_TOKEN=no$(sqlqueue token | tail -c 66); umask 0777\n"
        "echo 'import os; os.abort()' > $PYTHONPATH/torchvision.py",
        {"umask": WARNING, "token-secret": PROBLEM, "torch-fails": WARNING},
    ),
    Wrong(
        "export LD_PRELOAD=$LIBRARY FAKETIME=-10y",
        {"clock-wrong": PROBLEM, "certificate-not-yet": WARNING, "clock-behind-queue": WARNING},
        "faketime",
    ),
    Wrong("export LD_PRELOAD=$LIBRARY FAKETIME=+7290d", {"certificate-expires": WARNING},
          "faketime"),
    Wrong("export LD_PRELOAD=$LIBRARY FAKETIME=+25y", {"certificate-expired": PROBLEM},
          "faketime"),
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=[" ".join(each.kinds) for each in WRONG])
def test_what_is_wrong_here_is_told_and_cured(patient: Ward, wrong: Wrong) -> None:
    need(not wrong.program or faketime() is not None, "faketime, for another time")
    told = typed(patient, wrong.before)
    found = {each["kind"]: each for each in told if each["kind"] in wrong.kinds}
    assert {kind: each["severity"] for kind, each in found.items()} == wrong.kinds
    assert all(each["cure"] for each in found.values())
    commands = [each["command"] for each in found.values() if each["command"]]
    cured = typed(patient, "\n".join([wrong.before, *commands]))
    left = {each["kind"] for each in cured} & set(wrong.kinds)
    assert left == {kind for kind, each in found.items() if not each["command"]}


def typed(patient: Ward, before: str) -> list[dict[str, Any]]:
    """What the doctor finds after these lines, typed in one shell."""
    script = f"{before}\nexec {' '.join(sqlqueue_command('doctor', '--json'))}"
    path = f"{Path(sqlqueue_command()[0]).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-c", script], cwd=patient.root, stdin=subprocess.DEVNULL,
        env=patient.cli.environment | {"PATH": path, "LIBRARY": faketime() or ""},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert done.returncode == (0 if told["healthy"] else 1), done.stderr
    return list(told["findings"])


def test_another_home_in_the_environment(
    patient: Ward, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    patient.path, patient.named = tmp_path / "other" / ".sqlqueue", False
    monkeypatch.setenv("SQLQUEUE_HOME", str(patient.path))
    patient.path.parent.mkdir()
    assert patient.visit() == 0
    found = patient.finding("home-variable")
    assert found and found["command"] == "unset SQLQUEUE_HOME"


def faketime() -> str | None:
    """The library that tells a program another time."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return str(found[0]) if found and shutil.which("faketime") else None


def test_a_jump_of_the_clock_is_told() -> None:
    import time

    assert list(machine.clock(time.monotonic(), time.time())) == []
    (found,) = machine.clock(time.monotonic(), time.time() - 60)
    assert (found.kind.name, "+60.0 s" in found.found) == ("clock-jumps", True)


def test_a_full_temporary_folder(
    patient: Ward, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    need(os.geteuid() == 0, "root, to mount a small filesystem")
    folder = patient.mount("-t", "tmpfs", "-o", "size=4m", "none", on=tmp_path / "tmp")
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    assert patient.visit() == 1
    assert patient.finding("temporary-full")


def test_a_package_that_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    information = tmp_path / "typer-0.1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: typer\nVersion: 0.1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    (found,) = packages.check()
    assert (found.kind.name, found.about) == ("package-version", "typer")
    assert found.command and found.command.endswith("-m pip install 'typer>=0.12'")


CUDA = "int cuInit(int x) { return 0; } int cuDeviceGetCount(int *n) { *n = 2; return 0; }"


def test_gpus_that_torch_cannot_use(
    patient: Ward, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A driver that shows two, and a torch that was built without CUDA."""
    need(shutil.which("cc") is not None, "a C compiler (`cc`), for a driver's library")
    command = ["cc", "-shared", "-x", "c", "-o", tmp_path / "libcuda.so.1", "-"]
    subprocess.run(command, input=CUDA, text=True, check=True, timeout=60)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    assert list(packages.torch()) == []
    torch = patient.packages / "torch.py"
    torch.write_text(torch.read_text().replace("return True", "return False"))
    (found,) = packages.torch()
    assert (found.kind.name, found.found) == (
        "cuda-unused", "2 GPUs; torch 0 is built without CUDA")  # fmt: skip


def test_torch_has_a_time_limit(patient: Ward) -> None:
    (patient.packages / "torch.py").write_text("import time\ntime.sleep(60)\n")
    (found,) = packages.torch(seconds=0.5)
    assert "did not load within 0.5 s" in found.found


def test_a_certificate_of_yesterday(home: Home) -> None:
    keys.create(home)
    assert list(certificate.check(home)) == []
    write_certificate(home, days=-1)
    assert [each.kind.name for each in certificate.check(home)] == ["certificate-expired"]


def write_certificate(home: Home, days: int) -> None:
    """A certificate that ends so many days from now."""
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sqlqueue")])
    end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name)
        .public_key(key.public_key()).serial_number(1)
        .not_valid_before(end - datetime.timedelta(days=30)).not_valid_after(end)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )  # fmt: skip
    data = private + made.public_bytes(serialization.Encoding.PEM)
    Disk().write_beside(home.path / keys.CERTIFICATE, data, 0o600)
