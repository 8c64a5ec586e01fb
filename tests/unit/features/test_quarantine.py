from __future__ import annotations

from collections import Counter
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.contract import FeatureSettings, RuleShares
from recsys.dataset import MOVIES_CSV, RATINGS_CSV
from recsys.errors import DatasetError
from recsys.features import QUARANTINE_SCHEMA, Examples, FileStats, Rule, check_shares
from recsys.features import quarantine as quarantine_module
from recsys.features.quarantine import Quarantine, Rejected
from recsys.features.validation import RATING_SCHEMA


def rejected(file: str, rules: list[Rule], first_line: int = 2) -> Rejected:
    made = Rejected(file)
    for line, rule in enumerate(rules, first_line):
        made.add(rule, line, f"row {line}".encode())
    return made


def test_every_rule_has_a_tolerated_share() -> None:
    assert set(RuleShares.model_fields) == {rule.value for rule in Rule} - {"erased"}


def test_rows_beyond_a_bound_are_counted_but_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quarantine_module, "MAX_STORED", 5)
    monkeypatch.setattr(quarantine_module, "BUFFERED_ROWS", 3)
    quarantine = Quarantine(tmp_path, (MOVIES_CSV, RATINGS_CSV))
    quarantine.add(rejected(MOVIES_CSV, [Rule.ENCODING] * 2))
    for block in range(4):
        rules = [Rule.RATING_RANGE, Rule.WRONG_TYPE, Rule.RATING_RANGE]
        quarantine.add(rejected(RATINGS_CSV, rules, 2 + 3 * block))
    lost = pl.DataFrame(
        [(1, 1, 4.0, 9, line) for line in (40, 30, 50, 60, 70, 80, 90)],
        schema=RATING_SCHEMA,
        orient="row",
    )
    quarantine.add_duplicates(RATINGS_CSV, lost[:4])
    quarantine.add_duplicates(RATINGS_CSV, lost[4:])
    quarantine.read(RATINGS_CSV, 100)

    path = tmp_path / "quarantine.parquet"
    quarantine.write(path)
    stored = pl.read_parquet(path)
    assert stored.schema == QUARANTINE_SCHEMA
    assert quarantine.stats(RATINGS_CSV).quarantine == {
        Rule.DUPLICATE: 7,
        Rule.RATING_RANGE: 8,
        Rule.WRONG_TYPE: 4,
    }
    of_ratings = stored.filter(pl.col("file") == RATINGS_CSV)
    assert dict(of_ratings["rule"].value_counts().iter_rows()) == {
        "duplicate": 5,
        "rating_range": 5,
        "wrong_type": 4,
    }
    assert stored["file"].to_list()[:2] == [MOVIES_CSV, MOVIES_CSV]
    lines = of_ratings.filter(pl.col("rule") != "duplicate")["line"]
    assert lines.is_sorted()
    assert of_ratings["line"].to_list()[-5:] == [30, 40, 50, 60, 70]


def test_an_empty_quarantine_is_written_as_an_empty_table(tmp_path: Path) -> None:
    Quarantine(tmp_path, (MOVIES_CSV, RATINGS_CSV)).write(tmp_path / "q.parquet")
    assert pl.read_parquet(tmp_path / "q.parquet").schema == QUARANTINE_SCHEMA


@given(st.lists(st.sampled_from(list(Rule)), max_size=40), st.integers(0, 60))
def test_shares_are_checked_for_each_rule_and_for_all_together(
    rules: list[Rule], valid: int
) -> None:
    counts = Counter(rules)
    rows = valid + len(rules)
    if not rows:
        return
    settings = FeatureSettings()
    # However many users were erased, it is no fault of the dataset.
    limits = {**settings.max_rule_shares.model_dump(), Rule.ERASED: 1}
    over = [rule for rule, count in counts.items() if count / rows > limits[rule]]
    broken = len(rules) - counts[Rule.DUPLICATE] - counts[Rule.ERASED]
    is_refused = bool(over) or broken / rows > settings.max_quarantine_share
    stats = FileStats(rows=rows, quarantine=counts)
    if not is_refused:
        check_shares(stats, settings, Examples(RATINGS_CSV))
        return
    with pytest.raises(DatasetError, match="too many rows") as caught:
        check_shares(stats, settings, Examples(RATINGS_CSV))
    for rule in over:
        assert f"for {rule}" in str(caught.value.expected) or len(over) > 4
