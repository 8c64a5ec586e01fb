"""The verifier measures by the features what the gate judges; it believes no candidate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from recsys import contract
from recsys.contract import EVALUATED_USER_TOWERS_FILE, ExitCode, MeasuredMetrics, TrainerInput
from recsys.errors import ArtifactError
from recsys.gate.measured import leaves
from tests.trainer.conftest import Bench, Tables
from verifier.__main__ import main
from verifier.candidate import Candidate, load_served_model, read_candidate
from verifier.measure import check_tables, measure

KEY = "5e" * 32


def verify(bench: Bench, trainer_input: TrainerInput) -> ExitCode:
    return main([], bench.environment(trainer_input))


def test_it_measures_what_the_trainer_has_measured_and_seals_it(
    bench: Bench,
    trained: TrainerInput,
    caplog: pytest.LogCaptureFixture,
    record_property: Callable[[str, object], None],
) -> None:
    inbox = trained.inbox_key(contract.MEASURED_FILE)
    assert verify(bench, trained) == ExitCode.OK
    assert bench.store.find_bytes(inbox) is None, "nothing is stored without a seal"
    with caplog.at_level("INFO"):
        assert verify(bench, trained.model_copy(update={"seal": KEY})) == ExitCode.OK
    assert KEY not in caplog.text
    sealed = bench.store.get_bytes(inbox)
    bench.store.delete([inbox])
    measured = MeasuredMetrics.from_json(contract.unseal(sealed, KEY))
    stated = read_candidate(bench.store, trained).manifest
    found, claimed = (
        dict(leaves(one.model_dump(mode="json"))) for one in (measured.metrics, stated.metrics)
    )
    assert found.keys() == claimed.keys()
    apart = {
        path: abs(value - claimed[path])
        for path, value in found.items()
        if isinstance(value, float | int) and not isinstance(value, bool)
    }
    record_property(
        "figure", f"{len(apart)} measured and stated numbers differ by {max(apart.values()):.1e}"
    )
    assert max(apart.values()) < 1e-4
    assert measured.served.shift_rmse == pytest.approx(stated.serving.shift_rmse, abs=1e-4)
    assert measured.served.rmse < measured.metrics.model.value("rmse"), "it was fitted to them"
    assert measured.interactions == stated.serving.interactions
    for wrong in (sealed.replace(b"rmse", b"mse", 1), b"", sealed.partition(b"\n")[2]):
        with pytest.raises(ArtifactError, match="its seal is wrong"):
            contract.unseal(wrong, KEY)
    with pytest.raises(ArtifactError, match="its seal is wrong"):
        contract.unseal(sealed, "00" * 32)


LIES = {
    "a user less": (lambda users: users.head(-1), "not those of the dataset's users"),
    "a user twice": (lambda users: pl.concat([users, users.head(1)]), "has too many vectors"),
    "a user in place of another": (
        lambda users: pl.concat([users.head(-1), users.head(1)]),
        "not those of the dataset's users",
    ),
    "an id of nobody": (
        lambda users: users.with_columns(id=pl.col("id") + 1_000_000),
        "dataset's users",
    ),
    "no history": (
        lambda users: users.with_columns(seen=pl.col("seen").list.head(0)),
        "not the training part",
    ),
    "another dimension": (
        lambda users: users.with_columns(
            vector=pl.col("vector").arr.to_list().list.head(3).list.to_array(3)
        ),
        "another dimension",
    ),
    "not finite": (
        lambda users: users.with_columns(
            vector=(
                pl.col("vector").arr.to_list().list.eval(pl.element() * float("nan"))
            ).list.to_array(contract.TOWER_DIM)
        ),
        "zero or not finite",
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_towers_that_contradict_the_dataset_are_refused(
    bench: Bench, trained: TrainerInput, tmp_path: Path, lie: str
) -> None:
    candidate = read_candidate(bench.store, trained)
    artifact = candidate.manifest.artifact(EVALUATED_USER_TOWERS_FILE)
    bench.store.download(artifact.key, tmp_path / "users.parquet")
    change, reason = LIES[lie]
    change(pl.read_parquet(tmp_path / "users.parquet")).write_parquet(tmp_path / "lie.parquet")
    key = contract.release_key(trained.release_id, "lie.parquet")
    bench.store.put_file(key, tmp_path / "lie.parquet")
    changed = artifact.model_copy(update={"key": key, "sha256": bench.store.sha256(key)})
    others = tuple(a for a in candidate.manifest.artifacts if a.name != artifact.name)
    manifest = candidate.manifest.model_copy(update={"artifacts": (*others, changed)})
    with pytest.raises(Exception, match=reason) as refused:
        measure(bench.store, trained, Candidate(manifest, "0" * 64), None, tmp_path / "work", {})
    bench.store.delete([key])
    assert isinstance(refused.value, ArtifactError) or "not finite" in str(refused.value)


def test_a_served_model_is_checked_before_it_is_measured(
    bench: Bench, trained: TrainerInput, tmp_path: Path
) -> None:
    manifest = read_candidate(bench.store, trained).manifest
    golden = manifest.artifact(contract.GOLDEN_FILE)
    torn = golden.model_copy(update={"sha256": "0" * 64})
    others = tuple(a for a in manifest.artifacts if a.name != golden.name)
    with pytest.raises(ArtifactError, match="has changed since it was stored"):
        load_served_model(
            bench.store, manifest.model_copy(update={"artifacts": (*others, torn)}), tmp_path
        )


def test_wrong_arguments_and_a_missing_input_are_bad_config(bench: Bench) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["promote"], {})
    assert ended.value.code == ExitCode.BAD_CONFIG
    assert main([], {}) == ExitCode.BAD_CONFIG


OUT_OF_BOUNDS = {
    contract.HOLDOUT_PREDICTIONS_FILE: lambda rows: pl.concat([rows, rows.head(1)]),
    contract.HOLDOUT_RECOMMENDATIONS_FILE: lambda rows: rows.with_columns(
        score=pl.concat_list("score", "score")
    ),
    contract.USER_TOWERS_FILE: lambda users: users.with_columns(
        seen=pl.col("seen").list.concat(pl.col("seen"))
    ),
    contract.MOVIE_TOWERS_FILE: lambda movies: pl.concat([movies, movies.head(1)]),
    contract.EVALUATED_MOVIE_TOWERS_FILE: lambda movies: movies.with_columns(note=pl.lit("x")),
}


def test_each_table_of_a_candidate_is_bounded_before_it_is_read(
    bench: Bench, trained: TrainerInput, small: Tables, tmp_path: Path
) -> None:
    manifest = read_candidate(bench.store, trained).manifest
    check_tables(bench.store, manifest, *small, tmp_path)
    tables = {artifact.name for artifact in manifest.artifacts if artifact.name.endswith("parquet")}
    assert tables == {*OUT_OF_BOUNDS, EVALUATED_USER_TOWERS_FILE}
    for name, change in OUT_OF_BOUNDS.items():
        path = tmp_path / name
        sound = path.read_bytes()
        change(pl.read_parquet(path)).write_parquet(path)
        with pytest.raises(ArtifactError, match=f"{path.name} has (too many|a column of an)"):
            check_tables(bench.store, manifest, *small, tmp_path)
        path.write_bytes(sound)
