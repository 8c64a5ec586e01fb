"""Settings of the object store, from environment variables."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, InitSettingsSource, NoDecode, SettingsConfigDict
from pydantic_settings.sources import PydanticBaseSettingsSource

from recsys.contract import check_key_prefix
from recsys.errors import ConfigurationError, first_invalid_field

if TYPE_CHECKING:
    import boto3

SessionFactory: TypeAlias = "Callable[[], boto3.Session]"
_JsonObject: TypeAlias = Annotated[dict[str, Any], NoDecode]
_IDENTITY: Final = ("session_token", "profile", "role_arn")
"""Fields that say, besides the keys, who sends the requests."""
_PASSED_ON: Final = ("access_key", "secret_key", *_IDENTITY, "role_options", "sts_endpoint")


class S3Settings(BaseSettings):
    """Address and credentials of the object store: ``RECSYS_S3_*`` and ``AWS_*``.

    Without keys, profile and role, boto3 looks for credentials itself: environment variables, files
    of AWS, a web identity token (IRSA), the container's endpoint (EKS pod identity), the instance.
    """

    # Compose and Kubernetes pass unset variables as empty strings. A rejected value may be secret.
    model_config = SettingsConfigDict(
        env_prefix="RECSYS_S3_",
        env_ignore_empty=True,
        hide_input_in_errors=True,
        populate_by_name=True,
    )

    bucket: str = Field(min_length=3)
    endpoint: str | None = None
    region: str = "us-east-1"
    prefix: str = Field(
        default="", description="of all keys in the bucket, for several recommenders in one"
    )
    access_key: SecretStr | None = Field(default=None, validation_alias="AWS_ACCESS_KEY_ID")
    secret_key: SecretStr | None = Field(default=None, validation_alias="AWS_SECRET_ACCESS_KEY")
    session_token: SecretStr | None = Field(
        default=None, validation_alias="AWS_SESSION_TOKEN", description="of temporary keys"
    )
    profile: str | None = Field(
        default=None,
        validation_alias="AWS_PROFILE",
        description="section of the files of AWS; keys precede its own",
    )
    role_arn: str | None = Field(default=None, description="role to assume with the credentials")
    role_options: _JsonObject = Field(
        default_factory=dict,
        repr=False,
        description="other arguments of AssumeRole, e.g. ExternalId, DurationSeconds",
    )
    sts_endpoint: str | None = Field(default=None, description="of AssumeRole; default: AWS")
    verify: bool | str | None = Field(
        default=None, description="false, or the file of the certificates that are trusted"
    )
    config: _JsonObject = Field(
        default_factory=dict,
        repr=False,
        description="arguments of botocore's Config; they replace the ones made here",
    )
    max_attempts: int = Field(default=8, ge=1, description="maximum attempts per request")
    read_timeout: float = Field(
        default=20.0, gt=0, description="seconds without a byte after which an attempt has failed"
    )

    _session_factory: SessionFactory | None = PrivateAttr(default=None)

    @field_validator("endpoint")
    @classmethod
    def _check_endpoint(cls, endpoint: str | None) -> str | None:
        """Refuses credentials in the address, which errors of boto3 show and no request sends."""
        if endpoint and "@" in urlsplit(endpoint).netloc:
            raise ValueError("credentials in the address; set AWS_ACCESS_KEY_ID instead")
        return endpoint

    @field_validator("prefix")
    @classmethod
    def _check_prefix(cls, prefix: str) -> str:
        return check_key_prefix(prefix)

    @field_validator("role_options", "config", mode="before")
    @classmethod
    def _parse_json(cls, value: object) -> object:
        return json.loads(value) if isinstance(value, str) else value

    @field_validator("verify", mode="after")
    @classmethod
    def _parse_flag(cls, value: bool | str | None) -> bool | str | None:
        words = {"false": False, "no": False, "0": False, "true": True, "yes": True, "1": True}
        return words.get(value.lower(), value) if isinstance(value, str) else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Keys that are given do not get the token or role of other keys in the environment."""
        given = set(init_settings())
        if not given & {"access_key", "AWS_ACCESS_KEY_ID"}:
            return init_settings, env_settings
        names = {str(cls.model_fields[name].validation_alias or name) for name in _IDENTITY}
        names -= {str(cls.model_fields[n].validation_alias or n) for n in given & set(_IDENTITY)}
        nobody = InitSettingsSource(settings_cls, dict.fromkeys(names - given))
        return init_settings, nobody, env_settings

    @property
    def session_factory(self) -> SessionFactory | None:
        """Makes the boto3 session, with credentials that boto3 renews; None: from the fields."""
        return self._session_factory

    def with_session(self, factory: SessionFactory) -> S3Settings:
        """Returns a copy whose clients come from sessions that ``factory`` makes."""
        copy = self.model_copy()
        copy._session_factory = factory
        return copy

    def credentials(self) -> dict[str, str]:
        """Returns the environment variables that give these credentials to another process."""
        variables = {}
        for name in _PASSED_ON:
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                value = value.get_secret_value()
            if value:
                text = json.dumps(value) if isinstance(value, dict) else value
                variables[self._variable(name)] = text
        return variables

    def public_options(self) -> dict[str, str]:
        """Returns ``verify`` and ``config`` as text for another process, "" for a default.

        Proxies are left out: their URLs may hold passwords, and other machines have other proxies.
        """
        config = {k: v for k, v in self.config.items() if not k.startswith("proxies")}
        return {
            "s3_verify": "" if self.verify is None else str(self.verify),
            "s3_config": json.dumps(config) if config else "",
        }

    @classmethod
    def _variable(cls, name: str) -> str:
        return str(cls.model_fields[name].validation_alias or f"RECSYS_S3_{name.upper()}")

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> S3Settings:
        """Reads the settings from environment variables; empty ones count as unset.

        Args:
            environ: the variables; those of this process if not given.

        Raises:
            ConfigurationError: a variable is missing or invalid. The error does not show values.
        """
        try:
            return cls() if environ is None else cls.model_validate(cls._values(environ))
        except ValidationError as error:
            raise ConfigurationError(
                "the S3 settings are missing or invalid",
                found=f"{cls.__name__}.{first_invalid_field(error)}",
                expected="RECSYS_S3_BUCKET, RECSYS_S3_ENDPOINT, and AWS_* secrets",
                hint="set these environment variables, or correct the Connection of S3 (recsys_s3)",
            ) from error

    @classmethod
    def _values(cls, environ: Mapping[str, str]) -> dict[str, object]:
        """All fields: pydantic would read missing ones from this process's environment."""
        values: dict[str, object] = {}
        for name, field in cls.model_fields.items():
            default = "" if field.is_required() else field.get_default(call_default_factory=True)
            values[name] = environ.get(cls._variable(name)) or default
        return values
