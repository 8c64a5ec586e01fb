from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import DatasetError
from recsys.features import Drift, DriftSettings, check_drift, find_drift_breaches
from recsys.features.drift import population_stability
from recsys.features.drift_settings import HardDriftLimits

histograms = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 1000), max_size=6)
CALM = Drift(
    md5="1" * 32,
    champion_md5="2" * 32,
    sha256=("3" * 64, "4" * 64),
    psi={"ratings": 0.01},
    vanished_users=0.0,
    new_users=0.01,
    vanished_movies=0.0,
    new_movies=0.01,
    changed_pairs=0.0,
    row_growth=0.02,
    newest_days=7.0,
)


@given(histograms, histograms)
def test_the_index_is_symmetric_finite_and_never_negative(
    now: dict[str, int], then: dict[str, int]
) -> None:
    index = population_stability(now, then)
    assert 0 <= index < math.inf
    assert index == pytest.approx(population_stability(then, now))
    assert population_stability(now, now) == 0


def test_the_index_grows_with_the_difference() -> None:
    then = {"1": 500, "2": 500}
    shifts = [{"1": 500 - d, "2": 500 + d} for d in (0, 50, 100, 300, 500)]
    indices = [population_stability(now, then) for now in shifts]
    assert indices == sorted(indices)
    # Computed by hand for 400 and 600 of 1000, with half a count added to each bin.
    p, q = 400.5 / 1001, 500.5 / 1001
    by_hand = (p - q) * math.log(p / q) + (q - p) * math.log((1 - p) / (1 - q))
    assert indices[2] == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("measure", "warns", "fails"),
    [
        ("psi", {"ratings": 0.3}, {"ratings": 4.5}),
        ("vanished_users", 0.2, 0.5),
        ("vanished_movies", 0.2, 0.5),
        ("row_growth", -0.1, -0.5),
        ("newest_days", -1.0, -28.0),
    ],
)
def test_a_breach_warns_and_a_hard_breach_fails_unless_drift_is_accepted(
    measure: str, warns: object, fails: object
) -> None:
    name = "psi_ratings" if measure == "psi" else measure
    settings = DriftSettings()
    assert find_drift_breaches(CALM, settings) == []
    warned = CALM.model_copy(update={measure: warns})
    assert [(b.measure, b.hard) for b in find_drift_breaches(warned, settings)] == [(name, False)]
    check_drift(warned, settings)

    failed = CALM.model_copy(update={measure: fails})
    [breach] = find_drift_breaches(failed, settings)
    assert (breach.measure, breach.hard) == (name, True)
    with pytest.raises(DatasetError, match=rf"{name} is .*, limit .*accept") as caught:
        check_drift(failed, settings)
    assert "--accept-drift" in caught.value.hint
    check_drift(failed, DriftSettings(accept=True))


def test_new_users_and_movies_warn_and_one_hard_limit_can_be_set_alone() -> None:
    grown = CALM.model_copy(update={"new_users": 0.9, "new_movies": 0.9, "row_growth": 3.0})
    assert [(b.measure, b.hard) for b in find_drift_breaches(grown, DriftSettings())] == [
        ("new_users", False),
        ("new_movies", False),
        ("row_growth", False),
    ]
    strict = DriftSettings(hard=HardDriftLimits(max_row_growth=2.0))
    assert [b.measure for b in find_drift_breaches(grown, strict) if b.hard] == ["row_growth"]


def test_changed_pairs_warn_and_do_not_fail() -> None:
    changed = CALM.model_copy(update={"changed_pairs": 0.98})
    assert [(b.measure, b.hard) for b in find_drift_breaches(changed, DriftSettings())] == [
        ("changed_pairs", False)
    ]
    assert changed.measures()["changed_pairs"] == 0.98


def test_drift_that_an_earlier_version_measured_has_no_changed_pairs() -> None:
    stored = CALM.model_dump(mode="json", exclude={"changed_pairs"})
    earlier = Drift.model_validate(stored)

    assert "changed_pairs" not in earlier.measures()
    assert find_drift_breaches(earlier, DriftSettings()) == []
