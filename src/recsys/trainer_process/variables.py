"""Which variables of a process the trainer, Spark and the site inherit, and which they must not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Final

from recsys import contract

FORWARDED_VARIABLES: Final = frozenset(
    "HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy no_proxy "
    "SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE AWS_CA_BUNDLE "
    "AWS_REQUEST_CHECKSUM_CALCULATION AWS_RESPONSE_CHECKSUM_VALIDATION AWS_USE_FIPS_ENDPOINT "
    "AWS_USE_DUALSTACK_ENDPOINT AWS_STS_REGIONAL_ENDPOINTS RECSYS_S3_MAX_ATTEMPTS "
    "RECSYS_S3_READ_TIMEOUT RECSYS_SITE_KERAS".split()
)
"""Variables of a task's environment that every launcher passes on to the trainer and to Spark.

They define how S3 is reached, and which Keras the site has; none names a secret or a folder.
"""
_INHERITED_VARIABLES: Final = FORWARDED_VARIABLES.union(
    "PATH HOME USER LOGNAME TMPDIR LANG LC_ALL LC_CTYPE TZ XDG_CACHE_HOME "
    "RECSYS_CODE_REVISION".split()
)
_IDENTITY_VARIABLES: Final = frozenset(
    "AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN AWS_PROFILE AWS_DEFAULT_PROFILE "
    "AWS_ROLE_ARN AWS_WEB_IDENTITY_TOKEN_FILE AWS_ROLE_SESSION_NAME AWS_STS_REGIONAL_ENDPOINTS "
    "AWS_ENDPOINT_URL_STS AWS_CONTAINER_CREDENTIALS_RELATIVE_URI "
    "AWS_CONTAINER_CREDENTIALS_FULL_URI AWS_CONTAINER_AUTHORIZATION_TOKEN "
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE AWS_EC2_METADATA_DISABLED "
    "AWS_EC2_METADATA_SERVICE_ENDPOINT".split()
)
"""Where boto3 finds credentials if a process was given none: keys, IRSA, EKS pod identity, EC2."""
_FILES_VARIABLES: Final = frozenset({"AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"})
"""The files with the profiles of AWS, if they are not in the home folder."""
_MACHINE_VARIABLES: Final = frozenset(
    "LD_LIBRARY_PATH LD_PRELOAD GLIBC_TUNABLES POLARS_MAX_THREADS RAYON_NUM_THREADS "
    "NUMEXPR_MAX_THREADS".split()
)
_MACHINE_PREFIXES: Final = tuple(
    "CUDA_ CUDNN_ NVIDIA_ NCCL_ ROCR_ ROCM_ HIP_ HSA_ TPU_ XLA_ TF_ OMP_ GOMP_ KMP_ MKL_ OPENBLAS_ "
    "MALLOC_ TCMALLOC_".split()
)
_BUILD_VARIABLES: Final = frozenset({"TF_CONFIG", "TF_USE_LEGACY_KERAS"})
"""They have a prefix of the machine's, but change what is trained, or with which Keras."""


def inherited_identity(credentials: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables of this process that a child needs besides its own credentials."""
    if "AWS_ACCESS_KEY_ID" in credentials:
        return {}
    named = (
        _FILES_VARIABLES if "AWS_PROFILE" in credentials else _FILES_VARIABLES | _IDENTITY_VARIABLES
    )
    return {name: value for name, value in os.environ.items() if name in named}


def forwarded_variables(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the `FORWARDED_VARIABLES` that are set; Compose passes unset ones as empty strings.

    Args:
        environ: the environment of the task; that of this process if not given.
    """
    variables = os.environ if environ is None else environ
    return {name: variables[name] for name in FORWARDED_VARIABLES if variables.get(name)}


def is_machine_variable(name: str) -> bool:
    """Whether a variable belongs to the machine: its accelerators, libraries and threads."""
    if name in _BUILD_VARIABLES:
        return False
    return name in _MACHINE_VARIABLES or name.startswith(_MACHINE_PREFIXES)


def is_inherited(name: str, value: str) -> bool:
    """Whether the trainer gets a variable of the process that starts it.

    An empty variable is an unset one, except that an empty CUDA_VISIBLE_DEVICES hides all devices.

    Variables that would change the build, such as ``KERAS_BACKEND`` or ``PYTHONPATH``, are not
    inherited: the build's settings are its only inputs.
    """
    return (bool(value) and name in _INHERITED_VARIABLES) or is_machine_variable(name)


def inherited_variables() -> dict[str, str]:
    """Returns the variables of this process that the trainer gets; see `is_inherited`."""
    return {name: value for name, value in os.environ.items() if is_inherited(name, value)}


def credentials(secrets: Mapping[str, str]) -> dict[str, str]:
    """Returns the contract's secrets, or the identity of this process if they have no keys."""
    given = {k: v for k, v in secrets.items() if k in contract.SECRET_ENV}
    return inherited_identity(given) | given
