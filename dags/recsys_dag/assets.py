"""The asset of a recommender's releases: other teams schedule their DAGs on it.

An event names the release that readers see, at least once for each change. Tasks that change it
emit the event when they succeed. For changes without such a task (the command line, the releases
page, a task that was killed after its commit) ``announce_release`` emits it within minutes.

The tasks have an alias as their outlet, not the asset. A task with an asset as its outlet fails
before it begins if Airflow holds the asset for inactive, such as after another team has declared
one of the same name with another URI; a promotion must not fail for that. And an alias emits only
what a task adds to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from airflow.sdk import Asset, AssetAlias

from recsys.recommenders import FIRST_RECOMMENDER

RECOMMENDER: Final = FIRST_RECOMMENDER


def release_asset(recommender: str = RECOMMENDER) -> Asset:
    """Returns the asset ``recsys_release/<recommender>``.

    Args:
        recommender: name of the recommender.
    """
    # No URI: to resolve its scheme, Airflow would import all providers that register one.
    return Asset(name=f"recsys_release/{recommender}")


def release_outlet(recommender: str = RECOMMENDER) -> AssetAlias:
    """Returns the outlet of a task that emits `release_asset`, and the inlet of one that reads it.

    Args:
        recommender: name of the recommender.
    """
    return AssetAlias(name=f"recsys_release/{recommender}")


def emit_release(
    context: Mapping[str, Any],
    release_id: str,
    previous: str | None,
    recommender: str = RECOMMENDER,
) -> None:
    """Makes Airflow record an event when this task succeeds; without that outlet, does nothing.

    Args:
        context: of the task.
        release_id: the release that is live now.
        previous: the one before it; None if there was none. A try after one that was killed after
            its commit finds the new release there already, and no longer knows.
        recommender: name of the recommender.
    """
    outlet = release_outlet(recommender)
    # Somebody may have overridden the outlets of the task.
    if outlet in context["task"].outlets:
        known = None if previous == release_id else previous
        extra = {"release_id": release_id, "previous": known}
        context["outlet_events"][outlet].add(release_asset(recommender), extra=extra)


def last_emitted(context: Mapping[str, Any], recommender: str = RECOMMENDER) -> str | None:
    """Returns the release that the newest event names; None if there is no event.

    Args:
        context: of a task that has `release_outlet` as an inlet.
        recommender: name of the recommender.
    """
    inlet = context["inlet_events"][release_outlet(recommender)]
    for event in inlet.ascending(False).limit(1):
        release_id = (event.extra or {}).get("release_id")
        return None if release_id is None else str(release_id)
    return None
