"""The certificate authorities that requests to S3 trust."""

from __future__ import annotations

from recsys.errors import ConfigurationError
from recsys.object_store.authorities import EXPECTED, InvalidAuthoritiesError, trusted_file
from recsys.object_store.errors import CA_VARIABLES


def trusted_authorities(verify: bool | str | None) -> bool | str | None:
    """Returns boto3's ``verify``: a file, False for no verification, or None for the built-in ones.

    boto3 knows neither ``SSL_CERT_FILE`` nor folders, and takes a file that it cannot read for a
    server that does not answer.

    Args:
        verify: the setting; a file or folder precedes those of the environment and of AWS's files.

    Raises:
        ConfigurationError: the file or folder does not exist, or holds no certificate.
    """
    import botocore.session

    if verify is False:
        return False
    chosen = verify if isinstance(verify, str) else None
    # It only reads variables and files; its handlers, for requests, take as long as a client.
    session = botocore.session.Session(include_builtin_handlers=False)
    try:
        # AWS_CA_BUNDLE, or `ca_bundle` in a file.
        return trusted_file(chosen or session.get_config_variable("ca_bundle"))
    except InvalidAuthoritiesError as error:
        raise ConfigurationError(
            "the bundle of certificate authorities for S3 cannot be read",
            found=error.found,
            expected=EXPECTED,
            hint=f"correct {CA_VARIABLES}, or unset it to use the built-in authorities",
        ) from error
