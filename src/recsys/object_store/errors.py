"""Errors of boto3, translated into those of the domain."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from recsys.errors import (
    ArtifactError,
    ConfigurationError,
    PermanentError,
    ServiceUnavailableError,
    StalledError,
    TransientError,
)

NOT_FOUND = frozenset({"404", "NoSuchKey", "NotFound"})
_BUSY = {408, 429}
WITHOUT_CHECKSUMS = "set AWS_REQUEST_CHECKSUM_CALCULATION=when_required"
CA_VARIABLES = "AWS_CA_BUNDLE, REQUESTS_CA_BUNDLE, SSL_CERT_FILE or SSL_CERT_DIR"
_WITHOUT_LENGTH = {400, 411}
"""Answers of servers that do not understand `aws-chunked`: it has no Content-Length."""
_REFUSED = {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "InvalidToken", "InvalidIdentityToken"}

_SKEWED = "RequestTimeTooSkewed"
_SKEW_S = 5 * 60
"""S3 servers accept signatures whose time differs by 15 minutes, some by less."""


def is_untrusted(error: Exception) -> bool:
    """Whether an error of boto3 is that the certificate of the server is not accepted."""
    return "CERTIFICATE_VERIFY_FAILED" in str(error)


@dataclass(frozen=True)
class S3Errors:
    """Translates the errors of requests to one bucket.

    Attributes:
        bucket: the bucket's name.
        endpoint: the server's address, for messages.
    """

    bucket: str
    endpoint: str

    @contextmanager
    def translated(self, what: str) -> Iterator[None]:
        """Raises the errors of boto3 within its block as those of the domain.

        Args:
            what: the key or thing that a request is for.
        """
        from boto3.exceptions import S3UploadFailedError
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            NoCredentialsError,
            ParamValidationError,
            PartialCredentialsError,
            SSOError,
            TokenRetrievalError,
        )

        try:
            yield
        except ClientError as error:
            raise self._translate(error, what) from error
        except NoCredentialsError as error:
            raise ConfigurationError(
                "no credentials for S3",
                expected="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, an identity of the machine, "
                "or the Connection of S3 (recsys_s3)",
            ) from error
        except (PartialCredentialsError, SSOError, TokenRetrievalError) as error:
            raise ConfigurationError(
                "the credentials for S3 cannot be used",
                found=str(error),
                hint="complete the keys, or log in again (aws sso login)",
            ) from error
        except ParamValidationError as error:
            raise ConfigurationError(
                f"the request for {what} is invalid",
                found=str(error),
                hint="correct the bucket's name in the settings",
            ) from error
        except BotoCoreError as error:
            raise self._of_connection(error) from error
        except S3UploadFailedError as error:
            # upload_file wraps the server's response in its own error; a second error while the
            # other parts are cancelled may come between.
            cause: BaseException | None = error
            while cause is not None and not hasattr(cause, "response"):
                cause = cause.__cause__ or cause.__context__
            if cause is None:
                raise self._of_connection(error) from error
            raise self._translate(cause, what) from error

    def _translate(self, error: object, what: str) -> PermanentError | TransientError:
        response = getattr(error, "response", {})
        code = str(response.get("Error", {}).get("Code", ""))
        status = int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if code == "NoSuchBucket":
            return self.no_bucket()
        if code in NOT_FOUND:
            return ArtifactError(f"there is no {what} in the bucket {self.bucket}")
        skew_s = _clock_error(response) if code in _REFUSED else 0.0
        if code == _SKEWED or abs(skew_s) > _SKEW_S:
            return _clock_is_wrong(code, response)
        if code in _REFUSED:
            return ConfigurationError(
                f"S3 refused the credentials for {what}",
                found=code,
                hint="check the access key, its secret and the bucket's policy"
                # Some servers compute the signature without the framing of checksums.
                + (f"; for an upload, {WITHOUT_CHECKSUMS}" if "Signature" in code else ""),
            )
        if code in _EXPIRED:
            return ConfigurationError(
                f"the credentials for {what} are temporary and no longer valid",
                found=code,
                hint="renew them, or use keys or a role that boto3 renews",
            )
        if status == 501 or code == "NotImplemented":
            return ConfigurationError(
                f"the S3 server does not implement a request for {what}",
                found=f"{code} (HTTP {status})",
                hint=f"if it was an upload, {WITHOUT_CHECKSUMS}",
            )
        if status >= 500 or status in _BUSY or code in {"SlowDown", "RequestTimeout"}:
            return self.unavailable(f"{code} (HTTP {status})")
        unknown = status in _WITHOUT_LENGTH or code == "XAmzContentSHA256Mismatch"
        return PermanentError(
            f"S3 refused a request for {what}",
            found=f"{code} (HTTP {status})",
            hint=f"if the server knows no checksums, {WITHOUT_CHECKSUMS}" if unknown else "",
        )

    def _of_connection(self, error: Exception) -> PermanentError | TransientError:
        from botocore.exceptions import ConnectTimeoutError, ReadTimeoutError

        if isinstance(error, ReadTimeoutError | ConnectTimeoutError):
            return StalledError(
                "S3 accepts requests and does not answer",
                found=str(error),
                hint="look at the server and the network, then repeat the command",
            )
        if is_untrusted(error):
            return ConfigurationError(
                f"the certificate of the S3 server {self.endpoint} is not trusted",
                found=str(error).rpartition("certificate verify failed: ")[2],
                hint=f"name a file with the certificate of its authority in {CA_VARIABLES}; "
                "companies that inspect TLS have one of their own",
            )
        return self.unavailable(str(error))

    def no_bucket(self) -> ConfigurationError:
        """The error for a bucket that does not exist."""
        return ConfigurationError(
            "the bucket does not exist",
            found=self.bucket,
            hint="create it, or correct the bucket's name in the settings",
        )

    def unavailable(self, found: str) -> ServiceUnavailableError:
        """The error for a server that does not answer."""
        return ServiceUnavailableError(
            "S3 does not answer",
            found=found,
            expected=f"an answer from {self.endpoint}",
            hint="start it, or correct the endpoint; `recsys doctor` shows which server is down",
        )


def _clock_error(response: dict[str, Any]) -> float:
    """How far this machine's clock is before the server's, in seconds; 0 if unknown.

    The answer to a HEAD request has no body, so only its date shows why it was refused.
    """
    date = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return time.time() - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return 0.0


def _clock_is_wrong(code: str, response: dict[str, Any]) -> ConfigurationError:
    seconds = _clock_error(response)
    measured = f": {abs(seconds):.0f} s {'ahead' if seconds > 0 else 'behind'}" if seconds else ""
    return ConfigurationError(
        "the clocks of this machine and of the S3 server differ",
        found=f"{code}{measured}",
        expected="a difference of less than 15 minutes; a request is signed with its time",
        hint="set the clocks by NTP, of this machine (or its virtual machine) and of the server",
    )
