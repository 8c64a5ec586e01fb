"""The description of a recommender: settings only, no operators, no code, no templates."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from recsys.contract import BuildSettings
from recsys.features import DriftSettings
from recsys.gate import ForwardSettings, GateSettings
from recsys.recommenders.alert_route import AlertRoute, ConnectionId
from recsys.recommenders.namespace import Namespace
from recsys.recommenders.trainer import Trainer
from recsys.releases import RetentionSettings


def _check_line(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError("not one line of printable text")
    return text


def _check_role(name: str) -> str:
    if name in {"Admin", "Op", "Public", "User", "Viewer"}:
        raise ValueError("a role of Airflow's own, whose rights are on all DAGs, or of everybody")
    return name


Line = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_check_line)]
Role = Annotated[Line, Field(max_length=64), AfterValidator(_check_role)]


class _Plain(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Connections(_Plain):
    """Ids of Airflow's Connections. Recommenders may share them, or have accounts of their own."""

    s3: ConnectionId = Field(default="recsys_s3", description="the bucket")
    postgres: ConnectionId = Field(
        default="recsys_pg_vector_backend", description="the server of PostgreSQL"
    )
    trainer_s3: ConnectionId = Field(
        default="recsys_trainer_s3", description="the trainer's account of S3; it need not exist"
    )
    source: ConnectionId = Field(
        default="recsys_source",
        description="credentials of the source's web server; it need not exist",
    )
    signing: ConnectionId = Field(
        default="recsys_signing", description="the key that signs releases; it need not exist"
    )


class Placement(_Plain):
    """Where its tasks run. What is left out is as the variables ``RECSYS_*`` say."""

    pool: Line | None = Field(default=None, description="Airflow pool of all its tasks")
    queue_light: Line | None = Field(default=None, description="Celery queue of short tasks")
    queue_features: Line | None = Field(
        default=None, description="Celery queue of tasks that process all interactions or vectors"
    )


class Description(_Plain):
    """One recommender. What is left out is as the variables ``RECSYS_*`` say, else the default."""

    name: str = Field(description="name of the recommender and of its file, without .yaml")
    title: Line = Field(description="its name for people, in Airflow's UI")
    owner: Line = Field(default="recsys", description="owner of its DAGs")
    roles: tuple[Role, ...] | None = Field(
        default=None,
        max_length=50,
        description="Airflow roles of the people who see and run its DAGs and its releases page; "
        "`recsys recommender roles` makes them in FAB. Left out: rights are given by hand",
    )
    team: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{3,50}$")] | None = Field(
        default=None,
        description="Airflow team of its DAGs, where `[core] multi_team` is on: they are in that "
        "team's bundle of DAGs (docs/tenants.md)",
    )
    source: tuple[Line, ...] = Field(
        default=(),
        max_length=10,
        description="the dataset: a zip whose md5 is in <source>.md5; further ones are mirrors. "
        "Required, except for movie_rec_sys, whose source may be RECSYS_SOURCE",
    )
    schedule: Line = Field(
        default="0 4 * * 1",
        description="cron expression, UTC; a changed md5 starts a run besides",
    )
    connections: Connections = Connections()
    trainer_image_variable: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,200}$")] = Field(
        default="recsys_trainer_image",
        description="Airflow Variable with the image of its trainer, by digest",
    )
    trainer: Trainer = Field(default=Trainer(), description="how its trainer runs")
    build: BuildSettings | None = Field(
        default=None, description="settings that change the outcome of a build"
    )
    drift: DriftSettings | None = Field(default=None, description="limits of the dataset's drift")
    gate: GateSettings = Field(
        default=GateSettings(), description="limits of the gate, unless a run has others"
    )
    forward: ForwardSettings | None = Field(
        default=None, description="releases to test on newer ratings"
    )
    retention: RetentionSettings | None = Field(default=None, description="releases to keep")
    require_approval: bool = Field(
        default=False, description="whether a person must approve each promotion"
    )
    max_age_days: float | None = Field(
        default=None,
        gt=0,
        le=36_500,
        allow_inf_nan=False,
        description="age of the last success beyond which an alert is sent",
    )
    alerts: AlertRoute = Field(default=AlertRoute(), description="where its alerts go")
    placement: Placement = Placement()

    @field_validator("name")
    @classmethod
    def _check_name(cls, name: str) -> str:
        return Namespace(name).name

    @field_validator("schedule")
    @classmethod
    def _check_schedule(cls, text: str) -> str:
        if len(text.split()) != 5:
            raise ValueError("not a cron expression of five fields, for example 0 4 * * 1")
        if text != cls.model_fields["schedule"].default:
            # Each task process reads the descriptions, and the import takes 30 ms.
            from croniter import CroniterError, croniter

            try:
                croniter(text).get_next()
            except CroniterError as error:
                raise ValueError(f"not a cron expression that has a next date: {error}") from None
        return text

    @field_validator("source", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("source")
    @classmethod
    def _without_blanks(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        # A blank separates mirrors in RECSYS_SOURCE and in the Param of the DAG.
        if any(len(one.split()) > 1 for one in sources):
            raise ValueError("an address has a blank in it; write %20, and mirrors as a list")
        return sources

    @model_validator(mode="after")
    def _has_source(self) -> Self:
        if not self.source and not self.namespace.is_first:
            raise ValueError("source is missing")
        return self

    @cached_property
    def namespace(self) -> Namespace:
        """The names that derive from its name."""
        return Namespace(self.name)

    @property
    def heartbeat_connection(self) -> str:
        """The Connection of its heartbeat; unless the description names it, it need not exist."""
        own = "recsys_alert_heartbeat"
        return self.alerts.heartbeat or (own if self.namespace.is_first else f"{own}_{self.name}")

    @property
    def alert_fields(self) -> dict[str, Any]:
        """Fields of its alerts' settings that need no Connection; they come before variables."""
        fields: dict[str, Any] = {}
        if self.alerts.channels:
            fields |= dict.fromkeys(("slack_url", "webhook_url", "webhook_key", "smtp_url"))
        if self.alerts.email_to is not None:
            fields["email_to"] = self.alerts.email_to
        if self.alerts.kinds is not None:
            fields["kinds"] = self.alerts.kinds
        if not self.namespace.is_first:
            fields["recommender"] = self.title
            # Pings of another one must not hide that this one stands still.
            fields["heartbeat_url"] = None
        return fields
