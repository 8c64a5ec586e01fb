"""Time limits of the weekly run. They derive from one another here, and nowhere else.

A limit that contains others is their sum, so that the inner one ends first and names the cause. A
limit that somebody set and that others contradict is refused when the DAG file is parsed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final, TypeAlias

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from recsys.errors import ConfigurationError
from recsys.recommenders import Description, Launcher
from recsys_dag import environment
from recsys_dag.features.settings import Engine, SparkPodSettings, engine
from recsys_dag.trainer.settings import launcher, pod_settings

DEFAULT: Final = timedelta(minutes=10)
"""For one try of a task without a limit of its own, and of the check of a candidate."""
FETCH: Final = timedelta(hours=2)
FEATURES: Final = timedelta(hours=1)
SPARK: Final = timedelta(hours=4)
MAX_RETRY_DELAY: Final = timedelta(minutes=15)
RETRIES: Final = 3
HOUSEKEEPING: Final = timedelta(minutes=30)
"""For a run that recovers and sends alerts: the next one starts every five minutes."""
_TRAINING: Final = timedelta(hours=8)
_REST: Final = timedelta(hours=6)
"""For all tasks but the training and Spark's; most of it for a zip that is published late."""


_Hours: TypeAlias = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class TimeoutSettings(BaseSettings):
    """Environment: ``RECSYS_*``."""

    model_config = SettingsConfigDict(env_prefix="RECSYS_", env_ignore_empty=True)

    training_timeout_hours: _Hours | None = Field(
        default=None, description="that a training may take, with its wait for a machine"
    )
    approval_timeout_hours: _Hours = Field(
        default=72, description="that a person has to approve a release"
    )
    deadline_hours: _Hours = Field(
        default=6, description="after which a run that has not ended is late"
    )


@dataclass(frozen=True)
class Timeouts:
    """Consistent limits.

    Attributes:
        training: of one try of the training, with its wait for a machine.
        training_pod: of the training's pod, from its start; None without Kubernetes.
        verification: of one try of the check of a candidate, with the start of its pod.
        verification_pod: of that pod; None without Kubernetes.
        approval: how long a person has to answer.
        deadline: after which an alert says that the run is late.
        run: of the whole run.
    """

    training: timedelta
    training_pod: timedelta | None
    verification: timedelta
    verification_pod: timedelta | None
    approval: timedelta
    deadline: timedelta
    run: timedelta


def timeouts(recommender: Description) -> Timeouts:
    """Reads the settings and derives all limits of a recommender's runs.

    Raises:
        ConfigurationError: a setting is invalid, or two contradict each other.
    """
    settings = environment.read(TimeoutSettings, hint="docs/settings.md lists the settings")
    hours = recommender.trainer.timeout_hours or settings.training_timeout_hours
    given = None if hours is None else timedelta(hours=hours)
    if launcher(recommender) == Launcher.KUBERNETES:
        pod = pod_settings(recommender)
        # From the request for a pod to its start, and from SIGTERM to its end.
        around = timedelta(seconds=pod.startup_timeout_s + pod.grace_s)
        training, training_pod = _of_training(given, pod.deadline_s, around)
        verification, verification_pod = DEFAULT + around, DEFAULT
    else:
        training, training_pod = given or _TRAINING, None
        verification, verification_pod = DEFAULT, None
    approval = timedelta(hours=settings.approval_timeout_hours)
    spark = _of_spark()
    made = Timeouts(
        training=training,
        training_pod=training_pod,
        verification=verification,
        verification_pod=verification_pod,
        approval=approval,
        deadline=timedelta(hours=settings.deadline_hours),
        run=training + verification + spark + _REST + approval,
    )
    if made.deadline >= made.run:
        raise ConfigurationError(
            "a run would never be late: Airflow ends it before",
            found=f"RECSYS_DEADLINE_HOURS={_hours(made.deadline)}",
            expected=f"less than the {_hours(made.run)} hours that a run may take",
            hint="lower RECSYS_DEADLINE_HOURS; docs/settings.md shows how the limits derive",
        )
    return made


def all_tries(one: timedelta, retries: int = RETRIES) -> timedelta:
    """Returns how long all tries of a task may take, with the delays between them."""
    return one * (retries + 1) + MAX_RETRY_DELAY * retries


def _of_spark() -> timedelta:
    """Returns the limit of a step on Spark; zero if the features are computed without it."""
    if engine() == Engine.LOCAL:
        return timedelta()
    if engine() == Engine.SPARK_KUBERNETES:
        start = timedelta(seconds=environment.read(SparkPodSettings).startup_timeout_s)
        if start >= SPARK:
            raise ConfigurationError(
                "a step on Spark has no time left after the start of its driver",
                found=f"RECSYS_SPARK_POD_STARTUP_TIMEOUT_S={start.total_seconds():.0f}",
                expected=f"less than {SPARK.total_seconds():.0f} seconds",
                hint="lower it",
            )
    return SPARK


def _of_training(
    given: timedelta | None, deadline_s: int | None, around: timedelta
) -> tuple[timedelta, timedelta]:
    """Returns the limits of a training and of its pod."""
    if deadline_s is None:
        training = given or _TRAINING
        if training <= around:
            raise ConfigurationError(
                "a training has no time left after the start of its pod",
                found=f"RECSYS_TRAINING_TIMEOUT_HOURS={_hours(training)}",
                expected=f"more than {_hours(around)} hours: RECSYS_TRAINER_POD_STARTUP_TIMEOUT_S "
                "and RECSYS_TRAINER_POD_GRACE_S",
                hint="raise the first, or lower the others",
            )
        return training, training - around
    deadline = timedelta(seconds=deadline_s)
    if given is None:
        return max(_TRAINING, deadline + around), deadline
    if deadline > given:
        raise ConfigurationError(
            "the training's task ends before its pod may",
            found=f"RECSYS_TRAINER_POD_DEADLINE_S={deadline_s}, "
            f"RECSYS_TRAINING_TIMEOUT_HOURS={_hours(given)}",
            expected=f"at most {given.total_seconds():.0f} seconds for the pod",
            hint="raise RECSYS_TRAINING_TIMEOUT_HOURS, or unset RECSYS_TRAINER_POD_DEADLINE_S: "
            "without it, the pod's limit follows from the task's",
        )
    return given, deadline


def _hours(limit: timedelta) -> str:
    return f"{limit.total_seconds() / 3600:.4g}"
