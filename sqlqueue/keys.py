"""The secrets of a queue: its certificate, and the owner's and the workers' secret.

Promises: each is made once, whole or not at all, and two creators at the same time end
with the same ones; files are 0600 from their first instant and are refused when others
can read them; secrets are compared in constant time.  A *token* is `<secret>.<fingerprint>`:
what a client needs to prove itself and to know the manager.  What is not here: sockets,
TLS, and the home folder itself.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from sqlqueue.disk import Disk
from sqlqueue.errors import HomeError
from sqlqueue.home import Home

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate

Role = Literal["owner", "worker"]

CERTIFICATE: Final = "manager.pem"
"""The certificate and its private key, in one file so that they cannot disagree."""
OWNER: Final = "owner.secret"
WORKER: Final = "worker.secret"

_YEARS: Final = 20
_MIN_SECRET_CHARACTERS: Final = 32
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Keys:
    """The secrets of one home, read and checked."""

    certificate: Path
    fingerprint: str
    owner: str = field(repr=False)
    worker: str = field(repr=False)

    def role_of(self, token: str) -> Role | None:
        """Whose secret the token bears (with or without a fingerprint), or None."""
        given = token.partition(".")[0].encode("utf-8", "replace")
        is_owner = hmac.compare_digest(given, self.owner.encode())
        is_worker = hmac.compare_digest(given, self.worker.encode())
        if is_owner:
            return "owner"
        return "worker" if is_worker else None


def create(home: Home, disk: Disk | None = None) -> None:
    """Makes whatever is not there yet.  Idempotent; safe beside another creator."""
    disk = disk or Disk()
    _create(home.path / CERTIFICATE, _new_certificate, disk)
    _create(home.path / OWNER, _new_secret, disk)
    _create(home.path / WORKER, _new_secret, disk)


def rotate(home: Home, disk: Disk | None = None) -> None:
    """Makes all of them anew: whoever has an old one has nothing.  The caller holds the lock.

    Each is replaced whole; after a crash in between, the command is run again.
    """
    disk = disk or Disk()
    made = {CERTIFICATE: _new_certificate(), OWNER: _new_secret(), WORKER: _new_secret()}
    for name, data in made.items():
        disk.write_beside(home.path / name, data, 0o600)


def load(home: Home) -> Keys:
    """Reads all of them; raises `HomeError` when one is missing, unsafe or damaged."""
    certificate = home.path / CERTIFICATE
    return Keys(
        certificate=certificate,
        fingerprint=fingerprint(home),
        owner=_read_secret(home.path / OWNER),
        worker=_read_secret(home.path / WORKER),
    )


def fingerprint(home: Home) -> str:
    """SHA-256 of the certificate (DER), in 64 hexadecimal digits."""
    path = home.path / CERTIFICATE
    encoded = _read(path).partition(_BEGIN)[2].partition(_END)[0]
    try:
        der = base64.b64decode("".join(encoded.split()), validate=True)
    except ValueError:
        der = b""
    if not der:
        raise _damaged(path, "holds no certificate")
    return hashlib.sha256(der).hexdigest()


def owner_token(home: Home) -> str:
    """Proves the owner, and names the manager's certificate."""
    return f"{_read_secret(home.path / OWNER)}.{fingerprint(home)}"


def worker_token(home: Home) -> str:
    """Proves a worker, and names the manager's certificate: the value of SQLQUEUE_TOKEN."""
    return f"{_read_secret(home.path / WORKER)}.{fingerprint(home)}"


def role_of(home: Home, token: str) -> Role | None:
    """Whose secret the token bears in this home, or None."""
    return load(home).role_of(token)


# --- files ----------------------------------------------------------------------------


def _create(path: Path, make: Callable[[], bytes], disk: Disk) -> None:
    """Written beside, synced, then given its name unless somebody else was faster."""
    if os.path.lexists(path):
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        disk.write(temporary, make(), 0o600)
        disk.set_aside(temporary, path)
    except FileExistsError:
        disk.unlink(temporary)
    disk.fsync_dir(path.parent)


def _read(path: Path) -> str:
    try:
        _refuse_unsafe(path)
        return path.read_text(encoding="ascii")
    except FileNotFoundError:
        raise HomeError(
            f"{path} is missing; `sqlqueue init FILES...` makes it again "
            "(a manager that runs must be restarted afterwards)"
        ) from None
    except ValueError:
        raise _damaged(path, "is not plain text") from None
    except OSError as error:
        raise HomeError(f"{path}: cannot be read: {error.strerror}") from None


def _refuse_unsafe(path: Path) -> None:
    """A secret that others can read is none."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise HomeError(
            f"{path}: other users can get at this secret (its mode is {mode:04o}, "
            f"expected 0600); run: chmod 600 {path}"
        )


def _read_secret(path: Path) -> str:
    secret = _read(path).strip()
    if len(secret) < _MIN_SECRET_CHARACTERS:
        raise _damaged(path, f"holds {len(secret)} characters, expected a secret")
    return secret


def _damaged(path: Path, found: str) -> HomeError:
    return HomeError(f"{path} {found}; remove it, run `sqlqueue init FILES...`, restart managers")


# --- contents ---------------------------------------------------------------------------


def _new_secret() -> bytes:
    return secrets.token_urlsafe(32).encode() + b"\n"


def _new_certificate() -> bytes:
    """A fresh P-256 key and a certificate for it, signed by itself."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return private + _sign(key).public_bytes(serialization.Encoding.PEM)


def _sign(key: EllipticCurvePrivateKey) -> Certificate:
    import datetime

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import NameOID

    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sqlqueue")])
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + _YEARS * 365 * day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("sqlqueue")]), critical=False)
        .sign(key, hashes.SHA256())
    )
