"""The certificate authorities that requests to S3 trust."""

from __future__ import annotations

import os
import ssl

from recsys.errors import ConfigurationError
from recsys.object_store.errors import CA_VARIABLES


def trusted_authorities(verify: bool | str | None) -> bool | str | None:
    """Returns boto3's ``verify``: a file, False for no verification, or None for the built-in ones.

    boto3 does not know ``SSL_CERT_FILE``, and takes a file that it cannot read for a server that
    does not answer.

    Args:
        verify: the setting; a file precedes those of the environment and of AWS's files.

    Raises:
        ConfigurationError: the file does not exist, or holds no certificate.
    """
    import botocore.session

    if verify is False:
        return False
    path = verify if isinstance(verify, str) else None
    # AWS_CA_BUNDLE, or `ca_bundle` in a file.
    path = path or botocore.session.get_session().get_config_variable("ca_bundle")
    others = (os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"))
    path = path or next(filter(None, others), None)
    if not path:
        return None
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        raise ConfigurationError(
            "the bundle of certificate authorities for S3 cannot be read",
            found=f"{path}: {error.strerror or error}",
            expected="a file of certificates in PEM format",
            hint=f"correct {CA_VARIABLES}, or unset it to use the built-in authorities",
        ) from error
    return path
