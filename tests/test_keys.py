"""The secrets of a home: made once, agreed upon by all creators, refused when unsafe."""

from __future__ import annotations

import os
import ssl
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sqlqueue import keys
from sqlqueue.disk import Disk
from sqlqueue.errors import HomeError
from sqlqueue.home import Home

FILES = (keys.CERTIFICATE, keys.OWNER, keys.WORKER)


@pytest.fixture
def made(home: Home) -> Home:
    keys.create(home)
    return home


def contents(home: Home) -> dict[str, bytes]:
    return {name: (home.path / name).read_bytes() for name in FILES}


def test_all_files_are_private(made: Home) -> None:
    modes = {name: stat.S_IMODE((made.path / name).stat().st_mode) for name in FILES}
    assert modes == dict.fromkeys(FILES, 0o600)


def test_files_are_private_before_they_have_content(home: Home) -> None:
    modes: list[int] = []

    class Watching(Disk):
        def append(self, fd: int, data: bytes) -> None:
            modes.append(stat.S_IMODE(os.fstat(fd).st_mode))
            super().append(fd, data)

    before = os.umask(0)
    try:
        keys.create(home, Watching())
    finally:
        os.umask(before)
    assert modes == [0o600] * 3


def test_creating_again_changes_nothing_and_leaves_nothing_behind(made: Home) -> None:
    before, names = contents(made), sorted(made.path.iterdir())
    keys.create(made)
    assert contents(made) == before
    assert sorted(made.path.iterdir()) == names


def test_creators_at_the_same_time_agree(home: Home) -> None:
    code = (
        "import sys; from pathlib import Path; from sqlqueue import keys; "
        "from sqlqueue.home import Home; home = Home(Path(sys.argv[1])); sys.stdin.read(); "
        "keys.create(home); print(keys.owner_token(home), keys.worker_token(home))"
    )
    command = [sys.executable, "-c", code, str(home.path)]
    creators = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for each in creators:
        assert each.stdin
        each.stdin.close()
        each.stdin = None
    said = {each.communicate()[0] for each in creators}
    assert said == {f"{keys.owner_token(home)} {keys.worker_token(home)}\n"}
    assert not list(home.path.glob("*.tmp")) + list(home.path.glob(".*.tmp"))


@pytest.mark.parametrize("fatal", range(1, 16))
def test_a_crash_at_any_disk_call_leaves_all_or_nothing_of_each(home: Home, fatal: int) -> None:
    class Crash(BaseException):
        pass

    class Dying(Disk):
        calls = 0

        def _count(self) -> None:
            self.calls += 1
            if self.calls == fatal:
                raise Crash

        def append(self, fd: int, data: bytes) -> None:
            super().append(fd, data[: len(data) // 2])
            self._count()
            super().append(fd, data[len(data) // 2 :])

        def fsync(self, fd: int) -> None:
            self._count()
            super().fsync(fd)

        def set_aside(self, source: Path, target: Path) -> None:
            self._count()
            super().set_aside(source, target)

        def fsync_dir(self, path: Path) -> None:
            self._count()
            super().fsync_dir(path)

    try:
        keys.create(home, Dying())
    except Crash:
        pass
    else:
        assert fatal > 12
    kept = {name: (home.path / name).read_bytes() for name in FILES if (home.path / name).exists()}
    keys.create(home)
    assert keys.load(home).role_of(keys.owner_token(home)) == "owner"
    assert {name: contents(home)[name] for name in kept} == kept


def test_roles(made: Home) -> None:
    owner, worker = keys.owner_token(made), keys.worker_token(made)
    assert keys.role_of(made, owner) == "owner"
    assert keys.role_of(made, owner.partition(".")[0]) == "owner"
    assert keys.role_of(made, worker) == "worker"
    for wrong in ("", ".", worker[:-70], owner + "x", "ü\udc80", "x" * 43):
        expected = "owner" if wrong.startswith(owner) else None
        assert keys.role_of(made, wrong) == expected


def test_secrets_are_compared_in_constant_time(made: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[bytes] = []
    real = keys.hmac.compare_digest
    monkeypatch.setattr(keys.hmac, "compare_digest", lambda a, b: compared.append(b) or real(a, b))
    loaded = keys.load(made)
    assert loaded.role_of(loaded.owner) == "owner"
    assert compared == [loaded.owner.encode(), loaded.worker.encode()]


def test_the_fingerprint_is_that_of_the_certificate_that_tls_loads(made: Home) -> None:
    import hashlib

    text = (made.path / keys.CERTIFICATE).read_text()
    der = ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN CERTIFICATE") :])
    assert keys.fingerprint(made) == hashlib.sha256(der).hexdigest()
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(made.path / keys.CERTIFICATE)


def test_the_certificate_is_good_for_decades(made: Home) -> None:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509

    found = x509.load_pem_x509_certificate((made.path / keys.CERTIFICATE).read_bytes())
    assert found.subject.rfc4514_string() == "CN=sqlqueue"
    assert found.not_valid_after_utc > datetime.now(UTC) + timedelta(days=19 * 365)
    assert found.not_valid_before_utc < datetime.now(UTC)


def test_secrets_do_not_show_when_printed(made: Home) -> None:
    loaded = keys.load(made)
    assert loaded.owner not in repr(loaded)
    assert loaded.worker not in repr(loaded)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_secret_that_others_can_read_is_refused(made: Home, name: str, mode: int) -> None:
    path = made.path / name
    path.chmod(mode)
    with pytest.raises(HomeError, match=f"chmod 600 {path}") as caught:
        keys.load(made)
    assert f"{mode:04o}" in caught.value.message
    path.chmod(0o600)
    keys.load(made)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff\xfe", None])
def test_a_missing_or_damaged_secret_is_named(made: Home, name: str, content: bytes | None) -> None:
    path = made.path / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
        path.chmod(0o600)
    with pytest.raises(HomeError, match="sqlqueue init") as caught:
        keys.load(made)
    assert str(path) in caught.value.message


def test_the_module_does_not_import_cryptography() -> None:
    code = "import sys, sqlqueue.keys; sys.exit('cryptography' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
