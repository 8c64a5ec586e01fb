"""The report is one well-formed, self-contained page that escapes text and describes its charts."""

from __future__ import annotations

import copy
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest

from recsys.gate import Decision, GateSettings, judge, override_decision
from recsys.reports import render_report
from recsys.reports.own_charts import OwnChart
from recsys.reports.page import QueryResult
from tests.metrics_maker import GOOD, as_judged, scored, with_rmse

HOSTILE = "<script>alert('x')</script> & $\\alpha$ \"quoted\""
HOSTILE_IMAGE = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(2)</script></svg>"
QUALITY = {
    "users": 600,
    "asked": 500,
    "hidden": 900,
    "agreement_at_10": None,
    "found": {"movie_vectors": {"hit_rate": 0.28125, "ndcg": 0.1}},
    "by_popularity": [
        {
            "ratings": "10-99",
            "movies": 50,
            "hidden": 70,
            "agreement_at_10": 0.5,
            "found": {"raw_cosine": {"hit_rate": 0.25, "ndcg": 0.09}},
        }
    ],
}
VOID = {"meta", "link", "br", "hr", "img", "input"}
EPOCHS = [
    {"model": model, "epoch": n, "loss": 1 / n, "validation_rmse": rmse, "seconds": 0.1}
    for model, rmse in (("rating", 0.9), ("ranking", None))
    for n in (1, 2, 3)
]


class Page(HTMLParser):
    """Parses a page; fails if its elements are not nested correctly."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id" and value]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, (tag, self.getpos())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def metrics() -> dict[str, Any]:
    made = scored(GOOD)
    made["slices"]["genre"] = {HOSTILE: copy.deepcopy(made["slices"]["user_activity"]["few"])}
    return made


MANY_CHARTS = {"slices", "calibration"}
"""Parts of the metrics with charts of their own. Drawing a chart takes 0.1 s."""


def without_charts(decision: Decision) -> Page:
    """A page about a decision on metrics of which nothing is drawn."""
    drawn = {*MANY_CHARTS, "confidence", "champion", "baselines"}
    given = {name: value for name, value in metrics().items() if name not in drawn}
    return Page(render_report(metrics=as_judged(given), decision=decision))


def everything(**other: Any) -> str:
    given: dict[str, Any] = {
        "metrics": as_judged(metrics()),
        "release_id": "0123abcd-89abcdef",
        "history": {"evaluated": EPOCHS, "served": EPOCHS},
        "decision": judge(as_judged(GOOD), None, GateSettings()),
        "lineage": {
            "dataset_md5": "d" * 32,
            "seed": 20_000,
            "code_revision": None,
            "packages": {"keras": "3.15.1"},
            "config": {"max_users": None, "rating": {"epochs": 12}},
            "note": HOSTILE,
        },
        "stats": {
            "interactions": 100_836,
            "first_timestamp": 0,
            "mean_rating": 3.5,
            "profile": {"ratings": {"0.5": 1, "5.0": 2}, "user_activity": {"1": 3}},
            "files": {HOSTILE: {"rows": 9, "quarantine": {"bad_rating": 4}}},
        },
        "drift": {"psi_ratings": 0.125},
        "movie_vectors": {"rows": 9, "digest": "secret", "quality": QUALITY},
        "diff": {
            "neighbour_overlap": 0.8,
            "recommendation_overlap": None,
            "sentinel_movies": 50,
            "sentinel_users": 0,
        },
        "neighbors": [QueryResult(HOSTILE, (HOSTILE, "stays"), ("stays", "went"))],
        "recommendations": [QueryResult("user 1", ("only now",))],
        "own_charts": (OwnChart.of("charts/own_accuracy-by-age.svg", HOSTILE_IMAGE),),
        "made_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return render_report(**(given | other))


@pytest.fixture(scope="module")
def page() -> Page:
    return Page(everything())


def test_the_page_loads_nothing_and_runs_nothing(page: Page) -> None:
    assert page.all("script") == []
    assert page.all("iframe") == []
    assert {link["href"] for link in page.all("link")} == {"data:,"}
    # Name spaces are the only addresses.
    outside = set(re.findall(r"https?://[^\"'\s<]+", page.text))
    assert outside == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert not re.search(r"@import|url\((?!#)", page.text)


def test_outside_text_is_escaped(page: Page) -> None:
    assert "alert(" in page.text
    assert "alert(2)" not in page.text, "an image of the trainer is no markup of the page"
    assert "<script" not in page.text
    assert "$\\alpha$" in page.text


def test_every_chart_has_a_text_description(page: Page) -> None:
    charts = [svg for svg in page.all("svg") if svg.get("class") == "chart"]
    assert len(charts) >= 10
    for chart in charts:
        assert chart["role"] == "img"
        for part in (chart["aria-labelledby"] or "").split():
            assert part in page.ids


def test_ids_are_unique_and_links_have_targets(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))
    targets = {a["href"] for a in page.all("a")} | set(
        re.findall(r'xlink:href="([^"]+)', page.text)
    )
    assert targets
    assert {str(target).removeprefix("#") for target in targets} <= set(page.ids)
    assert set(re.findall(r"url\(#([^)]+)\)", page.text)) <= set(page.ids)


def test_colors_follow_the_page(page: Page) -> None:
    drawn = "".join(re.findall(r"<svg.*?</svg>", page.text, re.DOTALL))
    assert "var(--candidate)" in drawn
    assert set(re.findall(r"#[0-9a-f]{6}\b", drawn)) == set()
    assert "prefers-color-scheme: dark" in page.text
    assert "@media print" in page.text


@pytest.mark.parametrize(
    "shown",
    [
        "Release 0123abcd-89abcdef",
        "every binding rule passed",
        "rmse_against_bias",
        "candidate, same pairs",
        "On 9,818 held-out ratings of 610 users",
        "Intervals: 95%, bootstrap over users, 1,000 resamples",
        "Training of the rating model",
        "RMSE by user activity",
        "0.281",
        "80% of the 10 nearest movies stay the same, averaged over 50 movies",
        '<span class="tag warn">removed</span>',
        "bad rating",
        "psi ratings",
        "1970-01-01",
        "20000",
        "3.15.1",
        "not recorded",
        "Settings of the trainer",
        "10-99 ratings",
        "raw cosine",
        "own accuracy by age",
        "Intended use",
        "keras.saving.load_model(&#34;model.keras&#34;, safe_mode=True)",
        "license of the dataset",
    ],
)
def test_shows_the_data_that_it_gets(page: Page, shown: str) -> None:
    assert shown in page.text


def test_none_is_not_shown_as_unknown(page: Page) -> None:
    assert "unknown" not in page.text
    assert "<dt>max users</dt><dd>none</dd>" in page.text


def test_captions_match_their_charts() -> None:
    given = {name: value for name, value in metrics().items() if name not in MANY_CHARTS}
    text = Page(render_report(metrics=as_judged(given), history=EPOCHS)).text
    assert "Rating model: loss (left axis) and validation RMSE (right axis) by epoch" in text
    assert "Towers: loss by epoch" in text
    assert text.count("The bar is the 95% confidence interval of the candidate") == 2
    given["confidence"] |= {"model": {}}
    assert "The bar is" not in render_report(metrics=as_judged(given))


def test_the_same_data_gives_the_same_page(page: Page) -> None:
    assert everything() == page.text


def test_a_recommendation_comes_with_its_reason_if_it_has_one() -> None:
    found = QueryResult("user 1", ("Heat", "Alien"), None, ("Ronin <b>", None))
    page = everything(recommendations=[found])
    assert 'Heat <span class="muted">because of Ronin &lt;b&gt;</span></li>' in page
    assert "<li>Alien</li>" in page


def test_sections_without_data_are_left_out() -> None:
    page = Page(render_report(metrics=as_judged(GOOD)))
    assert "Training report" in page.text
    assert "Not evaluated by the gate" in page.text
    for absent in ("gate", "training", "neighbors", "recommendations", "data", "lineage"):
        assert absent not in page.ids


@pytest.mark.parametrize(
    "missing", ["confidence", "slices", "calibration", "champion", "baselines"]
)
def test_metrics_of_an_older_trainer_can_be_rendered(missing: str) -> None:
    given = {name: value for name, value in metrics().items() if name != missing}
    Page(render_report(metrics=as_judged(given), history=EPOCHS))


def test_a_metric_without_an_interval_is_shown() -> None:
    given = {name: value for name, value in metrics().items() if name not in MANY_CHARTS}
    given["confidence"] |= {"model": {"rmse": None}, "differences": {"rmse - bias": None}}
    assert "RMSE in stars" in Page(render_report(metrics=as_judged(given))).text


def test_a_rejection_shows_the_failed_rules() -> None:
    decision = judge(as_judged(with_rmse(GOOD, 2.0)), None, GateSettings())
    page = without_charts(decision)
    assert "Rejected" in page.text
    assert "✗ failed" in page.text


def test_an_override_shows_who_made_it() -> None:
    found: Decision = judge(as_judged(with_rmse(GOOD, 2.0)), None, GateSettings())
    page = without_charts(override_decision(found, actor="Ada", reason="I know better"))
    assert "The gate was overridden by <b>Ada</b>" in page.text
    assert "I know better" in page.text


def test_the_other_holdouts_are_shown_beside_the_newest_ratings() -> None:
    part = {
        "holdout": {"rows": 4838, "users": 45, "ranked_users": 20},
        "model": {"rmse": 1.0457, "ndcg@10": 0.1495},
        "baselines": {"bias": {"rmse": 1.0639}, "popularity": {"ndcg@10": 0.0587}},
    }
    in_time = part | {
        "moment": 1_519_171_200,
        "slices": {"users": {HOSTILE: {"rows": 3469, "users": 25, "rmse": 1.1427}}},
    }
    text = render_report(
        metrics=as_judged(metrics() | {"time_holdout": in_time, "last_visit": part})
    )
    Page(text)
    assert "all ratings from 2018-02-21 on" in text
    assert text.count("1.046") == 2
    assert "1.143" in text
    assert HOSTILE not in text
    assert "Holdouts" not in render_report(metrics=as_judged(metrics()))
    for moment in (2**40, -1, "x"):
        shown = render_report(
            metrics=as_judged(metrics() | {"time_holdout": in_time | {"moment": moment}})
        )
        assert "all ratings from one moment on" in shown


def test_slices_show_their_change_with_its_uncertainty() -> None:
    made = metrics()
    part = made["slices"]["user_activity"]["few"]
    part["standard_errors"] = {"rmse / bias": 0.01, "ndcg@10 / popularity": 0.2}
    text = render_report(metrics=as_judged(made))
    assert "-4.4% \u00b1 2.0%" in text  # 0.86 / 0.9 - 1
    assert "+40.0% \u00b1 40.0%" in text  # 0.14 / 0.1 - 1
    part["standard_errors"] = {"rmse / bias": None}
    assert "\u00b1" not in render_report(metrics=as_judged(made))
