"""The variables that every launcher passes on: written out here, so that none gets lost."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import certifi
import pytest

FORWARDED: Final = {
    "HTTP_PROXY": "http://proxy.example:3128",
    "HTTPS_PROXY": "http://user:proxy-password@proxy.example:3128",
    "ALL_PROXY": "http://proxy.example:3128",
    # The servers of the tests are on loopback.
    "NO_PROXY": "127.0.0.1,localhost",
    "http_proxy": "http://proxy.example:3129",
    "https_proxy": "http://proxy.example:3129",
    "all_proxy": "http://proxy.example:3129",
    "no_proxy": "127.0.0.1,localhost",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
    "AWS_USE_FIPS_ENDPOINT": "false",
    "AWS_USE_DUALSTACK_ENDPOINT": "false",
    "AWS_STS_REGIONAL_ENDPOINTS": "regional",
    "RECSYS_S3_MAX_ATTEMPTS": "3",
    "RECSYS_S3_READ_TIMEOUT": "9",
    "RECSYS_SITE_KERAS": "3.15.0",
}
"""Values that the clients of the tests can work with."""
FILES: Final = (
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE",
)  # fmt: skip
"""Those that name certificates; their values must exist where a client reads them."""
SECRET: Final = "proxy-password"  # noqa: S105 - of no proxy that exists


def set_forwarded(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Sets them all for this process, and returns them."""
    variables = FORWARDED | dict.fromkeys(FILES, certifi.where())
    variables["SSL_CERT_DIR"] = str(Path(certifi.where()).parent)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables
