"""Keys of objects and names of tables, for any id and any hostile name."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys import contract
from recsys.contract import (
    PUBLIC_TABLES,
    REQUIRED_ARTIFACTS,
    DatasetColumns,
    FeatureSettings,
    RatingScale,
    RuleShares,
)
from tests.contract_values import (
    MD5,
    RELEASE,
    law,
    release_ids,
)

HOSTILE_NAMES = [
    *("", ".", "..", "../x", "a/../b", "/etc/passwd", "a//b", "a/", "a/./b", ".hidden", "-rf"),
    *("a b", "a\nb", "a\x00b", "a\\b", "%2e%2e/x", "a?b", "a#b", "ä", "a\u2215b", "x\n"),
]
HOSTILE_IDS = [
    *("", "..", "01234567", "01234567-89abcde", "01234567-89abcdef0", "01234567_89abcdef"),
    *("01234567-89ABCDEF", " 01234567-89abcdef", "01234567-89abcdef\n", "../4567-89abcdef"),
    *("0123456\uff17-89abcdef", "01234567-89abcdef'; drop schema recsys; --"),
]
HOSTILE_MD5S = [*("", "..", MD5[:-1], MD5 + "0", MD5.upper(), MD5 + "\n", "../" + MD5[3:])]
FEATURES = f"features/{MD5}/{'0' * 16}/"
KEYS: list[tuple[Callable[[str, str], str], str, str]] = [
    (contract.dataset_key, MD5, f"datasets/{MD5}/"),
    (contract.features_key, f"features/{MD5}/", f"features/{MD5}/"),
    (contract.features_key, FEATURES, FEATURES),
    (contract.release_key, RELEASE, f"releases/{RELEASE}/"),
    (
        lambda release, name: contract.inbox_key(release, "n" * 8, name),
        RELEASE,
        f"incoming/{RELEASE}/{'n' * 8}/",
    ),
]
every_key = pytest.mark.parametrize(
    ("key", "owner", "prefix"),
    KEYS,
    ids=["dataset", "earlier features", "features", "release", "inbox"],
)
names = st.text("ab0_.-/\\~% \n\x00ä", max_size=12) | st.text(max_size=12)


@every_key
@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_file_name_is_rejected(
    key: Callable[[str, str], str], owner: str, prefix: str, name: str
) -> None:
    with pytest.raises(ValueError, match="not the name of a stored file"):
        key(owner, name)


@every_key
@law
@given(name=names)
def test_a_key_is_rejected_or_is_below_its_prefix(
    key: Callable[[str, str], str], owner: str, prefix: str, name: str
) -> None:
    try:
        made = key(owner, name)
    except ValueError:
        return
    assert made == prefix + name
    assert posixpath.normpath(made) == made
    assert re.fullmatch(r"[A-Za-z0-9_./-]+", made)


@every_key
def test_every_file_of_the_contract_has_a_key(
    key: Callable[[str, str], str], owner: str, prefix: str
) -> None:
    files = {value for name, value in vars(contract).items() if name.endswith("_FILE")}
    for name in files | REQUIRED_ARTIFACTS:
        assert key(owner, name) == prefix + name


@pytest.mark.parametrize("text", HOSTILE_IDS)
def test_an_invalid_release_id_has_no_key(text: str) -> None:
    for use in (
        contract.check_release_id,
        contract.release_prefix,
        lambda release: contract.release_key(release, "model.keras"),
        lambda release: contract.inbox_key(release, "n" * 8, "model.keras"),
        lambda release: contract.checkpoint_key(release, "scout"),
        lambda release: contract.table_name("movie_vectors", release),
    ):
        with pytest.raises(ValueError, match="not a release id"):
            use(text)


@pytest.mark.parametrize("nonce", ["", "..", "../x", "a/b", "a\n", "_checkpoints", "\uff11"])
def test_an_invalid_nonce_has_no_inbox(nonce: str) -> None:
    with pytest.raises(ValueError, match="not the nonce of a run"):
        contract.inbox_key(RELEASE, nonce, "model.keras")


def test_no_runs_inbox_holds_the_checkpoints() -> None:
    key = contract.checkpoint_key(RELEASE, "scout")
    folder = key.removeprefix(contract.release_inbox_prefix(RELEASE)).partition("/")[0]
    with pytest.raises(ValueError, match="not the nonce of a run"):
        contract.inbox_prefix(RELEASE, folder)


@pytest.mark.parametrize("text", HOSTILE_MD5S)
def test_an_invalid_md5_has_no_key(text: str) -> None:
    for use in (
        contract.dataset_prefix,
        contract.dataset_features_prefix,
        contract.titles_key,
        FeatureSettings().prefix,
        lambda md5: contract.drift_key(FEATURES, md5),
    ):
        with pytest.raises(ValueError, match="not an md5"):
            use(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "features/", f"features/{MD5}", f"features/{MD5}/../", f"releases/{MD5}/"),
        *(f"features/{MD5}/{'0' * 15}/", f"features/{MD5}/{'G' * 16}/", f"{FEATURES}x/"),
        *(f"/{FEATURES}", f"{FEATURES}\n", f"features/{MD5.upper()}/"),
    ],
)
def test_an_invalid_prefix_of_features_has_no_key(text: str) -> None:
    for use in (
        contract.check_features_prefix,
        contract.spark_prefix,
        lambda prefix: contract.features_key(prefix, "stats.json"),
        lambda prefix: contract.drift_key(prefix, MD5),
    ):
        with pytest.raises(ValueError, match="not a prefix of features"):
            use(text)
    with pytest.raises(ValueError, match="not a fingerprint"):
        contract.features_prefix(MD5, text)


def test_features_have_the_prefix_of_all_settings_that_change_their_content() -> None:
    known = FeatureSettings(revision=3, holdout_share=0.1)
    # Another way to hash would make the features of every retained release again.
    assert known.prefix(MD5) == f"features/{MD5}/6a2298f47e634a1d/"
    assert known.model_copy(update={"time_holdout_share": 0.2}).prefix(MD5) == known.prefix(MD5)
    now = FeatureSettings()
    own = set(FeatureSettings.model_fields) - {"max_quarantine_share", "max_rule_shares"}
    changed = {
        "revision": 99,
        "holdout_share": 0.2,
        "time_holdout_share": 0.2,
        "vector_dim": 64,
        "scale": RatingScale(min=1, max=10),
        "erased": "e" * 64,
        "columns": DatasetColumns(user="reader"),
        "id_bits": 64,
    }
    assert set(changed) == own, "say whether a new setting changes the content of features"
    others = {now.model_copy(update={name: value}).prefix(MD5) for name, value in changed.items()}
    assert len(others | {now.prefix(MD5)}) == len(changed) + 1
    tolerant = FeatureSettings(max_quarantine_share=0.5, max_rule_shares=RuleShares(duplicate=1))
    assert tolerant.prefix(MD5) == FeatureSettings().prefix(MD5)


def test_a_key_names_the_features_that_it_belongs_to() -> None:
    for prefix in (FEATURES, f"features/{MD5}/"):
        for key in (
            contract.features_key(prefix, "stats.json"),
            contract.drift_key(prefix, MD5),
            contract.spark_prefix(prefix) + "0/blocks/000000",
        ):
            assert contract.prefix_of_features(key) == prefix
    assert contract.prefix_of_features(f"features/{MD5[:-1]}/stats.json") is None
    assert contract.prefix_of_features("features/stats.json") is None


def test_an_error_message_shortens_a_long_value() -> None:
    for use, text in (
        (contract.check_md5, "x" * 10_000),
        (contract.check_release_id, "y" * 10_000),
    ):
        with pytest.raises(ValueError, match="not a") as refusal:
            use(text)
        assert len(str(refusal.value)) < 200


@law
@given(release_ids, release_ids)
def test_tables_of_releases_have_unique_names_that_need_no_quotes(one: str, other: str) -> None:
    made = {contract.table_name(t.name, r) for t in PUBLIC_TABLES for r in (one, other)}
    assert len(made) == len(PUBLIC_TABLES) * len({one, other})
    # PostgreSQL cuts longer names, and then two could be one.
    assert all(re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name) for name in made)


@pytest.mark.parametrize("table", ["", "movies", "Movie_Vectors", "movie_vectors; drop table x"])
def test_a_table_that_is_not_public_has_no_release_table(table: str) -> None:
    with pytest.raises(ValueError, match="not a public table"):
        contract.table_name(table, RELEASE)


@pytest.mark.parametrize(
    ("text", "prefix"),
    [("", ""), ("books", "books/"), ("books/", "books/"), ("team-a/books_2", "team-a/books_2/")],
)
def test_a_prefix_of_keys_ends_in_a_slash(text: str, prefix: str) -> None:
    assert contract.check_key_prefix(text) == prefix


@pytest.mark.parametrize(
    "text",
    [
        *(
            "/",
            "/books",
            "books//",
            "../books",
            "a/../b",
            "Books",
            "bücher",
            "a b",
            "a.b",
            "books\n",
        ),
        *("releases", "datasets/", "features/x", "incoming", "publishing", "seals"),
        *("books/releases", "a" * 64, "a/b/c/d/e"),
    ],
)
def test_a_prefix_that_another_recommender_could_touch_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a prefix of keys"):
        contract.check_key_prefix(text)


@pytest.mark.parametrize(
    "group",
    sorted(
        value
        for name, value in vars(contract.keys).items()
        if name.endswith("_PREFIX") and isinstance(value, str)
    ),
)
def test_no_prefix_of_keys_is_named_like_a_group_of_objects(group: str) -> None:
    with pytest.raises(ValueError, match="not a prefix of keys"):
        contract.check_key_prefix(group)
