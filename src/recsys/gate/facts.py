"""Facts about the tables that a release would serve, measured by the pipeline."""

from __future__ import annotations

from recsys.contract import Count, MetricsPart, Number


class TableFacts(MetricsPart):
    """One served table beside the dataset.

    Attributes:
        rows: of the table.
        stated: rows by the manifest or the ledger; None if they do not say.
        missing: ids of the dataset that the table does not have.
        unknown: ids of the table that the dataset does not have.
        distinct: different vectors.
        changed: 1 if the content is not as it was loaded, else 0; None if not compared.
    """

    rows: Count = None
    stated: Count = None
    missing: Count = None
    unknown: Count = None
    distinct: Count = None
    changed: Count = None


class ServedFacts(MetricsPart):
    """What the site would get from a release's tables; None where it could not be measured.

    Attributes:
        user_towers: the table.
        movie_towers: the table.
        movie_vectors: the table; ``missing`` are rated movies only.
        interactions: rows of the dataset.
        fitted_to: rows that the served models were fitted to, by the manifest.
        seen_counts: users for whom the number of movies in ``seen`` is not their interactions'.
        asked: users of the sample.
        seen: users of the sample whose ``seen`` is not their interactions, newest first.
        golden_users: users with golden recommendations; None if the release has none.
        expected_golden_users: users that should have some.
        golden: share of the golden recommendations that the tables recommend.
        evaluated_users: users of the sample with an evaluated tower; None if the release has no
            evaluated towers.
        evaluated: share of the evaluated towers' recommendations that the tables recommend to the
            same user.
        of_others: the same share, of what the evaluated towers recommend to another user.
        rmse: of the served model on the holdout, in the scale of the dataset.
    """

    user_towers: TableFacts = TableFacts()
    movie_towers: TableFacts = TableFacts()
    movie_vectors: TableFacts = TableFacts()
    interactions: Count = None
    fitted_to: Count = None
    seen_counts: Count = None
    asked: Count = None
    seen: Count = None
    golden_users: Count = None
    expected_golden_users: Count = None
    golden: Number = None
    evaluated_users: Count = None
    evaluated: Number = None
    of_others: Number = None
    rmse: Number = None
