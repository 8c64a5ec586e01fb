"""The contract of both images: properties of ids and keys, and every rejected manifest."""

from __future__ import annotations

import json
import posixpath
import re
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from recsys import contract
from recsys.contract import (
    PUBLIC_TABLES,
    REQUIRED_ARTIFACTS,
    Build,
    ExitCode,
    FeatureSettings,
    GoldenPredictions,
    Manifest,
    RuleShares,
    TrainerInput,
)

law = hypothesis_settings(deadline=None)  # a loaded machine is no failure

MD5 = "0123456789abcdef0123456789abcdef"
DIGEST = f"sha256:{'a' * 64}"
RELEASE = "01234567-89abcdef"

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
build_settings = st.dictionaries(st.text(max_size=8), json_values, max_size=5)
md5s = st.text("0123456789abcdef", min_size=32, max_size=32)
builds = st.builds(
    Build,
    dataset_md5=md5s,
    trainer_digest=st.text("0123456789abcdef", min_size=64, max_size=64).map("sha256:{}".format),
    settings=build_settings,
)
release_ids = builds.map(lambda build: build.release_id)


def build(**settings: Any) -> Build:
    return Build(dataset_md5=MD5, trainer_digest=DIGEST, settings=settings)


def reordered(value: Any) -> Any:
    """Returns the same JSON with the keys of every object in reverse order."""
    if isinstance(value, dict):
        return {key: reordered(value[key]) for key in reversed(value)}
    return [reordered(item) for item in value] if isinstance(value, list) else value


# --- builds and release ids ---


def test_the_id_of_a_known_build_never_changes() -> None:
    # Another way to hash would make the ledger unable to find any earlier release.
    known = build(features={"revision": 1}, trainer={"overrides": {}, "seed": 20})
    assert known.fingerprint == "a1f5f5d9453b748db0c925a63832bd30629976f5701f01273bbbe21ca68dc362"
    assert known.release_id == "01234567-a1f5f5d9"


@law
@given(builds)
def test_the_order_of_settings_does_not_change_the_release_id(made: Build) -> None:
    again = made.model_copy(update={"settings": reordered(made.settings)})
    assert again.fingerprint == made.fingerprint


@law
@given(builds)
def test_a_release_id_is_well_formed_and_starts_with_the_md5_of_the_dataset(made: Build) -> None:
    assert contract.check_release_id(made.release_id) == made.release_id
    assert made.release_id.startswith(made.dataset_md5[:8] + "-")


@law
@given(builds, st.data())
def test_any_change_of_a_build_changes_its_fingerprint_and_its_id(
    made: Build, data: st.DataObject
) -> None:
    settings = made.settings
    name = data.draw(st.sampled_from(sorted(settings) or ["new"]))
    rotated = str.maketrans("0123456789abcdef", "123456789abcdef0")
    changes: list[dict[str, Any]] = [
        {"dataset_md5": made.dataset_md5.translate(rotated)},
        {"trainer_digest": "sha256:" + made.trainer_digest[7:].translate(rotated)},
        {"settings": {**settings, name: {"was": settings.get(name)}}},
        {"settings": {**settings, name + "'": None}},
    ]
    if name in settings:
        changes.append({"settings": {k: v for k, v in settings.items() if k != name}})
    all_of_them = [made, *(made.model_copy(update=change) for change in changes)]
    assert len({b.fingerprint for b in all_of_them}) == len(all_of_them)
    assert len({b.release_id for b in all_of_them}) == len(all_of_them)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), [{"deep": float("-inf")}], {1, 2}, b"x", object()]
)
def test_settings_that_are_not_json_are_rejected(value: object) -> None:
    # As null they would pass for another build.
    with pytest.raises(ValidationError, match="settings"):
        build(value=value)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_settings_that_are_not_json_are_rejected_in_an_environment_too(number: str) -> None:
    text = f'{{"dataset_md5":"{MD5}","trainer_digest":"{DIGEST}","settings":{{"a":{number}}}}}'
    with pytest.raises(ValidationError, match="settings"):
        Build.model_validate_json(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dataset_md5", MD5.upper()),
        ("dataset_md5", MD5 + "\n"),
        ("dataset_md5", MD5[:-1]),
        ("dataset_md5", "'; drop table releases; --"),
        ("trainer_digest", "a" * 64),
        ("trainer_digest", "sha256:" + "A" * 64),
        ("trainer_digest", "latest"),
        ("another", 1),
    ],
)
def test_a_build_with_an_invalid_field_is_rejected(field: str, value: object) -> None:
    given_fields = {"dataset_md5": MD5, "trainer_digest": DIGEST, "settings": {}, field: value}
    with pytest.raises(ValidationError, match=field):
        Build.model_validate(given_fields)


# --- keys and tables ---

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


@pytest.mark.parametrize("number", ["", "1", "2", "4", "two"])
def test_a_pipeline_of_another_contract_is_refused(number: str) -> None:
    with pytest.raises(ValueError, match=f"the pipeline fulfills contract {number or 1} "):
        TrainerInput.from_environment({**ENVIRONMENT, "RECSYS_CONTRACT": number})


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


# --- the manifest ---


def manifest_fields(made: Build | None = None) -> dict[str, Any]:
    """Returns a valid manifest as JSON."""
    made = made or build(number=1)
    return {
        "manifest_schema": 1,
        "release_id": made.release_id,
        "build": made.model_dump(mode="json"),
        "fingerprint": made.fingerprint,
        "run_nonce": "n" * 8,
        "artifacts": [
            {
                "name": name,
                "key": contract.release_key(made.release_id, name),
                "sha256": "0" * 64,
                "size": 1,
            }
            for name in sorted(REQUIRED_ARTIFACTS)
        ],
        "dims": {"movie_vectors": 128, "towers": 64},
        "serving": {"method": "refit", "interactions": 10, "shift_rmse": 0.1},
        "metrics": {"model": {"rmse": 0.8}},
        "lineage": {"keras": "3.15.0"},
        "created_at": "2026-01-01T00:00:00Z",
    }


@law
@given(builds)
def test_a_manifest_survives_a_round_trip(made: Build) -> None:
    manifest = Manifest.model_validate(manifest_fields(made))
    stored = manifest.to_json()
    again = Manifest.from_json(stored)
    assert again == manifest
    assert again.to_json() == stored
    assert again.build.fingerprint == made.fingerprint
    assert again.created_at == datetime(2026, 1, 1, tzinfo=UTC)


def test_an_artifact_is_found_by_its_exact_name() -> None:
    manifest = Manifest.model_validate(manifest_fields())
    found = manifest.artifact("model.keras")
    assert found.key == f"releases/{manifest.release_id}/model.keras"
    with pytest.raises(KeyError):
        manifest.artifact("model")


def extra_artifact(manifest: dict[str, Any], **changes: Any) -> list[dict[str, Any]]:
    key = contract.release_key(manifest["release_id"], "extra.txt")
    extra = {"name": "extra.txt", "key": key, "sha256": "0" * 64, "size": 0, **changes}
    return [*manifest["artifacts"], extra]


def test_a_manifest_may_list_additional_artifacts() -> None:
    fields = manifest_fields()
    manifest = Manifest.model_validate({**fields, "artifacts": extra_artifact(fields)})
    assert manifest.artifact("extra.txt").size == 0


OTHER = build(number=2)
INVALID_MANIFESTS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "release_id: found": lambda m: {"release_id": OTHER.release_id},
    f"fingerprint: found {OTHER.fingerprint}": lambda m: {"fingerprint": OTHER.fingerprint},
    r"fingerprint: found [0-9a-f]{8}0{56}": lambda m: {
        "fingerprint": m["fingerprint"][:8] + "0" * 56
    },
    f"expected {OTHER.release_id} as computed from build": lambda m: {
        "build": OTHER.model_dump(mode="json")
    },
    "an artifact is listed twice": lambda m: {"artifacts": [*m["artifacts"], m["artifacts"][0]]},
    "artifacts missing: golden": lambda m: {
        "artifacts": [a for a in m["artifacts"] if "golden" not in a["name"]]
    },
    f"key of extra.txt: found releases/{OTHER.release_id}/extra.txt": lambda m: {
        "artifacts": extra_artifact(m, key=f"releases/{OTHER.release_id}/extra.txt")
    },
    "key of extra.txt: found .*/model.keras, expected .*/extra.txt": lambda m: {
        "artifacts": extra_artifact(m, key=f"releases/{m['release_id']}/model.keras")
    },
    "not the name of a stored file": lambda m: {
        "artifacts": extra_artifact(m, name="../../x", key=f"releases/{m['release_id']}/../../x")
    },
    r"size\n": lambda m: {"artifacts": extra_artifact(m, size=-1)},
    r"sha256\n": lambda m: {"artifacts": extra_artifact(m, sha256="0" * 63)},
    "manifest_schema": lambda m: {"manifest_schema": 2},
    r"run_nonce\n.*at least 8": lambda m: {"run_nonce": "short"},
    r"run_nonce\n.*at most 64": lambda m: {"run_nonce": "n" * 65},
    r"run_nonce\n.*pattern": lambda m: {"run_nonce": "nonce; rm -rf"},
    r"dims\.towers": lambda m: {"dims": {"movie_vectors": 128, "towers": 0}},
    r"serving\.method": lambda m: {"serving": {**m["serving"], "method": "none"}},
    r"serving\.shift_rmse": lambda m: {"serving": {**m["serving"], "shift_rmse": -0.1}},
    r"serving\.interactions": lambda m: {"serving": {**m["serving"], "interactions": 0}},
    r"unknown\n.*not permitted": lambda m: {"unknown": 1},
}


@pytest.mark.parametrize(("why", "change"), INVALID_MANIFESTS.items(), ids=list(INVALID_MANIFESTS))
def test_an_invalid_manifest_is_rejected_with_the_reason(
    why: str, change: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    fields = manifest_fields()
    with pytest.raises(ValidationError, match=why):
        Manifest.from_json(json.dumps({**fields, **change(fields)}))


REQUIRED = sorted(name for name, field in Manifest.model_fields.items() if field.is_required())


def test_releases_of_earlier_trainers_need_tensorflow() -> None:
    fields = manifest_fields()
    assert "requires_backend" not in fields
    assert Manifest.from_json(json.dumps(fields)).requires_backend == "tensorflow"


@pytest.mark.parametrize("name", REQUIRED)
def test_a_manifest_without_a_required_field_is_rejected(name: str) -> None:
    fields = manifest_fields()
    del fields[name]
    with pytest.raises(ValidationError, match=f"{name}\n  Field required"):
        Manifest.from_json(json.dumps(fields))


@pytest.mark.parametrize(
    "text", [b"", b"{}", b"null", b"[1]", b"<html>", b"\xff\xfe", b"{" * 10_000]
)
def test_text_that_is_not_a_manifest_is_rejected(text: bytes) -> None:
    with pytest.raises(ValidationError):
        Manifest.from_json(text)


def test_a_manifest_and_its_artifacts_are_immutable() -> None:
    manifest = Manifest.model_validate(manifest_fields())
    for part, name in ((manifest, "run_nonce"), (manifest.artifacts[0], "size")):
        with pytest.raises(ValidationError, match="frozen"):
            setattr(part, name, getattr(part, name))


@pytest.mark.parametrize("table", PUBLIC_TABLES, ids=lambda table: table.name)
def test_towers_come_from_a_required_artifact(
    table: contract.PublicTable,
) -> None:
    assert table.artifact is None or table.artifact in REQUIRED_ARTIFACTS


# --- golden predictions ---


def test_golden_predictions_survive_a_round_trip() -> None:
    golden = GoldenPredictions(
        user_ids=[1, -1], movie_ids=[2, 2**31], stars=[3.5, 4.000000001], keras_version="3.15.0"
    )
    assert GoldenPredictions.model_validate_json(golden.model_dump_json()) == golden


@pytest.mark.parametrize(
    ("users", "movies", "stars"),
    [([], [], []), ([1], [1, 2], [3.0, 3.0]), ([1, 2], [1, 2], [3.0]), ([1, 2], [1], [3.0, 3.0])],
)
def test_golden_predictions_of_different_lengths_are_rejected(
    users: list[int], movies: list[int], stars: list[float]
) -> None:
    with pytest.raises(ValidationError):
        GoldenPredictions(user_ids=users, movie_ids=movies, stars=stars, keras_version="3.15.0")


# --- the trainer's input ---

printable = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=3)
inputs = st.builds(
    TrainerInput,
    build=builds,
    run_nonce=st.from_regex(r"[0-9A-Za-z-]{8,64}", fullmatch=True),
    s3_bucket=printable,
    s3_endpoint=st.none() | printable,
    s3_region=printable,
    xcom_dir=printable,
)


@law
@given(inputs)
def test_the_trainers_input_survives_a_round_trip_through_the_environment(
    given_input: TrainerInput,
) -> None:
    environment = given_input.to_environment()
    assert TrainerInput.from_environment(environment) == given_input
    assert not set(environment) & set(contract.SECRET_ENV)
    # exec refuses a variable with a zero byte.
    assert not any("\x00" in value for value in environment.values())


ENVIRONMENT = TrainerInput(
    build=build(number=1), run_nonce="n" * 8, s3_bucket="bucket"
).to_environment()


@pytest.mark.parametrize(
    "name", ["RECSYS_BUILD", "RECSYS_RELEASE_ID", "RECSYS_RUN_NONCE", "RECSYS_S3_BUCKET"]
)
def test_the_error_names_a_missing_variable(name: str) -> None:
    environment = {key: value for key, value in ENVIRONMENT.items() if key != name}
    with pytest.raises(KeyError, match=name):
        TrainerInput.from_environment(environment)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RECSYS_BUILD", "{}"),
        ("RECSYS_BUILD", "not json"),
        ("RECSYS_RELEASE_ID", OTHER.release_id),
        ("RECSYS_RELEASE_ID", ""),
        ("RECSYS_RUN_NONCE", "short"),
        ("RECSYS_RUN_NONCE", "$(touch x)"),
        ("RECSYS_S3_BUCKET", "ab"),
    ],
)
def test_a_variable_with_an_invalid_value_is_rejected(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"validation error|RECSYS_RELEASE_ID is not"):
        TrainerInput.from_environment({**ENVIRONMENT, name: value})


def test_the_releases_of_a_forward_test_are_passed_on_and_checked() -> None:
    asked = TrainerInput.from_environment({**ENVIRONMENT, "RECSYS_FORWARD": f"{RELEASE},{RELEASE}"})
    assert asked.forward == (RELEASE, RELEASE)
    assert TrainerInput.from_environment(asked.to_environment()) == asked
    with pytest.raises(ValueError, match="validation error"):
        TrainerInput.from_environment({**ENVIRONMENT, "RECSYS_FORWARD": "../../x"})


def test_optional_variables_have_defaults() -> None:
    optional = {"RECSYS_S3_ENDPOINT", "RECSYS_S3_REGION", "RECSYS_XCOM_DIR"}
    least = {key: value for key, value in ENVIRONMENT.items() if key not in optional}
    assert TrainerInput.from_environment(least).to_environment() == ENVIRONMENT
    # Compose and Kubernetes give an unset variable as an empty one.
    assert TrainerInput.from_environment({**least, "RECSYS_S3_ENDPOINT": ""}).s3_endpoint is None


# --- exit codes ---


@pytest.mark.parametrize(
    ("code", "transient"),
    [
        (ExitCode.BAD_DATA, False),
        (ExitCode.INTERNAL, False),
        (ExitCode.UNAVAILABLE, True),
        (ExitCode.BAD_CONFIG, False),
        (ExitCode.TERMINATED, True),
        (1, False),
        (2, False),
        (127, False),
        (128, False),
        (128 + signal.SIGKILL, True),
        (-signal.SIGKILL, True),
        (-signal.SIGSEGV, True),
    ],
)
def test_an_exit_code_is_transient_if_a_retry_may_succeed(code: int, transient: bool) -> None:
    assert contract.exit_is_transient(code) is transient


def test_an_exit_code_is_transient_by_number_if_it_is_by_name() -> None:
    for code in ExitCode:
        assert contract.exit_is_transient(int(code)) is code.is_transient
        assert 0 <= code < 256
