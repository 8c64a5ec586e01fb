"""Operators that change which release is live. Each calls one function of the domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_recsys.hooks.recommender import RecommenderHook
from recsys_dag.assets import RECOMMENDER, emit_release, release_outlet
from recsys_dag.connections import PG_CONN_ID, S3_CONN_ID

if TYPE_CHECKING:
    from airflow.sdk import Context

    from recsys.ledger import Actor
    from recsys.releases import ChampionChange
    from recsys.services import Services


class _ChangeOfRelease(BaseOperator):
    """Changes the champion and emits the asset ``recsys_release/<recommender>``.

    Args:
        reason: recorded in the ledger's history; templated.
        recommender: name of the recommender: its database, its keys and its asset.
        store_conn_id: the Connection of its bucket.
        vectors_conn_id: the Connection of its database.
    """

    template_fields: Sequence[str] = ("reason", "release_id")

    def __init__(
        self,
        *,
        reason: str,
        release_id: str | None,
        recommender: str,
        store_conn_id: str,
        vectors_conn_id: str,
        **options: Any,
    ) -> None:
        super().__init__(**{"outlets": [release_outlet(recommender)], **options})
        self.recommender = recommender
        self.reason = reason
        self.release_id = release_id
        self.store_conn_id = store_conn_id
        self.vectors_conn_id = vectors_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Changes the champion; a try after one that was killed changes nothing.

        Returns:
            The champion before (``from``) and now (``to``), and whether this try changed it.
        """
        from recsys.ledger import Actor

        run = context["dag_run"]
        person = getattr(run, "triggering_user_name", None)
        task_of_run = f"{run.dag_id}/{run.run_id}/{context['ti'].task_id}"
        actor = Actor.from_run(task_of_run, self.reason, person)
        services = RecommenderHook(
            self.store_conn_id, self.vectors_conn_id, self.recommender
        ).get_conn()
        change = self.change(services, actor, task_of_run)
        emit_release(context, change.to_release, change.from_release, self.recommender)
        return {"from": change.from_release, "to": change.to_release, "changed": change.changed}

    def change(self, services: Services, actor: Actor, task_of_run: str) -> ChampionChange:
        """Changes the champion.

        Args:
            services: the servers.
            actor: who changes it, and why.
            task_of_run: identifies this task in this run, in all its tries.
        """
        raise NotImplementedError


class PromoteReleaseOperator(_ChangeOfRelease):
    """Makes an accepted release the champion: model and vectors as one pair.

    Args:
        release_id: id of the release; templated.
        reason: recorded in the ledger's history; templated.
        recommender: name of the recommender: its database, its keys and its asset.
        store_conn_id: the Connection of its bucket.
        vectors_conn_id: the Connection of its database.
    """

    def __init__(
        self,
        *,
        release_id: str,
        reason: str,
        recommender: str = RECOMMENDER,
        store_conn_id: str = S3_CONN_ID,
        vectors_conn_id: str = PG_CONN_ID,
        **options: Any,
    ) -> None:
        super().__init__(
            reason=reason,
            release_id=release_id,
            recommender=recommender,
            store_conn_id=store_conn_id,
            vectors_conn_id=vectors_conn_id,
            **options,
        )

    def change(self, services: Services, actor: Actor, task_of_run: str) -> ChampionChange:
        """Promotes the release."""
        from recsys import releases

        return releases.promote_release(services, str(self.release_id), actor=actor)


class RollBackReleaseOperator(_ChangeOfRelease):
    """Makes an earlier release the champion again: model and vectors as one pair.

    Args:
        release_id: id of a retained release; templated. None: the previous champion.
        reason: recorded in the ledger's history; templated.
        recommender: name of the recommender: its database, its keys and its asset.
        store_conn_id: the Connection of its bucket.
        vectors_conn_id: the Connection of its database.
    """

    def __init__(
        self,
        *,
        reason: str,
        release_id: str | None = None,
        recommender: str = RECOMMENDER,
        store_conn_id: str = S3_CONN_ID,
        vectors_conn_id: str = PG_CONN_ID,
        **options: Any,
    ) -> None:
        super().__init__(
            reason=reason,
            release_id=release_id,
            recommender=recommender,
            store_conn_id=store_conn_id,
            vectors_conn_id=vectors_conn_id,
            **options,
        )

    def change(self, services: Services, actor: Actor, task_of_run: str) -> ChampionChange:
        """Rolls back once, however often the task is tried."""
        from recsys import releases

        # A template gives an empty text for a Param that was left empty.
        return releases.roll_back(
            services, self.release_id or None, actor=actor, run_id=task_of_run
        )
