"""The home's certificate: from when and until when it holds.

What is not here: that it can be read (`at_home.py`), that the manager shows it (`managing.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlqueue import keys
from sqlqueue.doctor.finding import PROBLEM, WARNING, Finding, kind
from sqlqueue.home import Home

SOON: Final = timedelta(days=30)
BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
ANEW: Final = "rm -f -- {about} && sqlqueue token --home {home} > /dev/null"

EXPIRED = kind(
    "certificate-expired", PROBLEM, "the certificate has expired",
    "clients that look at its dates refuse the manager; afterwards restart the manager, and "
    "give workers of other hosts their new token", command=ANEW,
)  # fmt: skip
EXPIRES = kind(
    "certificate-expires", WARNING, "the certificate expires soon",
    "clients that look at its dates will refuse the manager; afterwards restart the manager, and "
    "give workers of other hosts their new token", command=ANEW,
)  # fmt: skip
NOT_YET = kind(
    "certificate-not-yet", WARNING, "the certificate is not valid yet",
    "the clock was set back, or was ahead when the home was made", command=ANEW,
)  # fmt: skip


def check(home: Home) -> Iterator[Finding]:
    """Nothing where there is no certificate that can be read."""
    path = home.path / keys.CERTIFICATE
    data = path.read_bytes() if path.is_file() else b""
    if BEGIN not in data:
        return
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(data[data.index(BEGIN) :])
    except ValueError:
        return
    now, end = datetime.now(UTC), found.not_valid_after_utc
    if end < now:
        yield EXPIRED.at(path, f"on {end:%Y-%m-%d}", home=home.path)
    elif end - now < SOON:
        yield EXPIRES.at(path, f"on {end:%Y-%m-%d}", home=home.path)
    if found.not_valid_before_utc > now:
        yield NOT_YET.at(path, f"before {found.not_valid_before_utc:%Y-%m-%d}", home=home.path)
