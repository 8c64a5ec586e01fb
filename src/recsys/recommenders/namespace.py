"""The names of a recommender: everything that must differ between two of them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from recsys.contract import SITE_ROLE, check_key_prefix

FIRST_RECOMMENDER: Final = "movie_rec_sys"
"""The recommender that installations had before there were descriptions; its names stay."""

ENV_RECOMMENDER: Final = "RECSYS_RECOMMENDER"

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{1,38}[a-z0-9]")
_KINDS: Final = ("rollback", "recover", "tune", "erase")
_RESERVED: Final = frozenset(
    {
        *("airflow", "postgres", "recsys", "template0", "template1", "default", "public", "admin"),
        # The account of the embedded stack's site is recsys_site_reader.
        "reader",
    }
)


def chosen_recommender() -> str:
    """Returns the name of the recommender that a command is for: ``RECSYS_RECOMMENDER``."""
    # Not beside the reader of descriptions, which imports YAML and all settings.
    return os.environ.get(ENV_RECOMMENDER) or FIRST_RECOMMENDER


@dataclass(frozen=True)
class Namespace:
    """What derives from a recommender's name.

    The names of two recommenders never collide: no name ends like the id of another's DAG.

    Args:
        name: name of the recommender.

    Raises:
        ValueError: the name cannot be used.
    """

    name: str

    def __post_init__(self) -> None:
        if (
            not _NAME.fullmatch(self.name)
            or self.name in _RESERVED
            or self.name.startswith(("recsys_", "pg_"))
            or self.name.endswith(tuple(f"_{kind}" for kind in _KINDS))
        ):
            raise ValueError(
                f"not a name of a recommender: found {self.name[:60]!r}, expected 3 to 40 "
                "lower-case letters, digits and _, for example books; it does not begin with "
                f"recsys_ or pg_ and does not end with _{', _'.join(_KINDS)}"
            )
        check_key_prefix(self.name)

    @property
    def is_first(self) -> bool:
        """Whether it is the recommender whose names are older than descriptions."""
        return self.name == FIRST_RECOMMENDER

    @property
    def weekly_dag(self) -> str:
        """Id of the DAG that makes releases."""
        return self.name

    @property
    def rollback_dag(self) -> str:
        """Id of the DAG that rolls back."""
        return f"{self.name}_rollback"

    @property
    def recover_dag(self) -> str:
        """Id of the DAG that runs every five minutes."""
        return f"{self.name}_recover"

    @property
    def tune_dag(self) -> str:
        """Id of the DAG that searches for better settings."""
        return f"{self.name}_tune"

    @property
    def erase_dag(self) -> str:
        """Id of the DAG that erases users."""
        return f"{self.name}_erase"

    @cached_property
    def dag_ids(self) -> tuple[str, ...]:
        """Ids of all its DAGs."""
        return (
            self.weekly_dag,
            self.rollback_dag,
            self.recover_dag,
            self.tune_dag,
            self.erase_dag,
        )

    @property
    def dataset_asset(self) -> str:
        """Name of the asset whose events start the weekly DAG."""
        return "movie_dataset_md5" if self.is_first else f"{self.name}_dataset_md5"

    @property
    def database(self) -> str | None:
        """Its database; None: the one that the connection names."""
        return None if self.is_first else self.name

    @property
    def key_prefix(self) -> str:
        """Prefix of its keys in the bucket, after the one that the connection names."""
        return "" if self.is_first else f"{self.name}/"

    @property
    def site_role(self) -> str:
        """The role of PostgreSQL whose members read its releases."""
        return SITE_ROLE if self.is_first else f"{SITE_ROLE}_{self.name}"

    @property
    def kubernetes_namespace(self) -> str:
        """The namespace of its trainer's pods in Kubernetes, where - stands for _."""
        return "recsys" if self.is_first else f"recsys-{self.name.replace('_', '-')}"

    @property
    def trainer_secret(self) -> str:
        """The Secret in Kubernetes with the keys of its trainer's account of S3."""
        return f"{self.kubernetes_namespace}-trainer-s3"
