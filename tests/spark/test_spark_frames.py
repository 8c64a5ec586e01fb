"""Invalid, duplicate and unsorted rows in many blocks and ranges, on Spark and one machine.

Ratings are 1 to 10 and ids have 64 bits; `test_spark_features` has stars, and ids of 32 bits.
"""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import polars as pl
import pytest

from recsys import contract
from recsys.contract import DatasetColumns, FeatureSettings, RatingScale, RuleShares
from recsys.dataset import RATINGS_CSV
from recsys.errors import ConfigurationError, PermanentError
from recsys.features import ErasedUsers, Rule, Stats, generate_data_frames, read_stats
from recsys.object_store import ObjectStore, S3Settings
from recsys.spark.exchange import Exchange
from recsys.spark.submit import SparkSubmit
from recsys.vectors import stored_movie_vectors
from tests.stored_datasets import put_files

# Java and Spark start slowly on a busy machine.
pytestmark = pytest.mark.timeout(900)

ALL_TOLERATED = RuleShares(**dict.fromkeys(RuleShares.model_fields, 1.0))
# The names are none that are found by themselves.
COLUMNS = DatasetColumns(ratings_file="events.csv", user="reader", rating="grade", title="book")
TOLERANT = FeatureSettings(
    max_quarantine_share=0.5,
    max_rule_shares=ALL_TOLERATED,
    columns=COLUMNS,
    scale=RatingScale(min=1, max=10),
    id_bits=64,
)
# Neighbors among these ids are one number in a float.
USER, MOVIE = 2**62, 2**55
INVALID_ROWS = [
    f"{USER + 1},{MOVIE + 1},\xff,5",
    f"{USER + 1},{MOVIE + 2},3.0",
    f"x,{MOVIE + 1},4.0,5",
    f"0,{MOVIE + 1},4.0,5",
    f"{USER + 1},0,4.0,5",
    f"{USER + 1},{MOVIE + 1},4.3,5",
    f"{USER + 1},{MOVIE + 1},0.5,5",
    f"{USER + 1},{MOVIE + 1},10.5,5",
    f"{USER + 1},{MOVIE + 1},4.0,99999999999",
    f"{USER + 1},{MOVIE + 999},4.0,5",
]


def _put(store: ObjectStore, rows: list[str]) -> str:
    movies = "movieId,book,genres\n" + "".join(
        f"{MOVIE + i},Film {i} ({1950 + i}),Drama|Comedy\n" for i in range(1, 61)
    )
    ratings = "reader,movieId,grade,timestamp\n" + "\r\n".join(rows) + "\n"
    return put_files(
        store, {"ml/events.csv": ratings.encode("latin-1"), "ml/movies.csv": movies.encode()}
    )


def _rows() -> list[str]:
    chance = random.Random(3)  # noqa: S311  no secret
    rows = [
        f"{USER + user},{MOVIE + movie},{chance.randint(2, 20) / 2},{chance.randint(1, 2000)}"
        for user in range(1, 201)
        for movie in chance.sample(range(1, 61), 20)
    ]
    again = [f"{row.rsplit(',', 2)[0]},1.5,{chance.randint(1, 2000)}" for row in rows[:300]]
    rows += again + INVALID_ROWS * 10
    chance.shuffle(rows)
    return rows


@pytest.fixture(scope="module")
def engines(
    spark: SparkSubmit,
    module_s3: S3Settings,
    module_store: ObjectStore,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Stored features of one hostile dataset by both engines; Spark uses 20 blocks, 9 ranges."""
    md5 = _put(module_store, _rows())
    driver = Path(__file__).with_name("driver.py")
    conf = ["--conf", "spark.ui.enabled=false", "--conf", "spark.driver.host=127.0.0.1"]
    arguments = [md5, TOLERANT.model_dump_json(), "4096", "500"]
    done = subprocess.run(
        [spark.program, "--master", spark.master, *conf, driver, *arguments],
        env=spark.environment(module_s3),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10, "there were hardly any blocks"
    on_spark = _features(module_store, md5)
    module_store.delete([contract.features_key(TOLERANT.prefix(md5), contract.STATS_FILE)])
    generate_data_frames(md5, module_store, TOLERANT, tmp_path_factory.mktemp("work"))
    return on_spark, _features(module_store, md5)


def _features(
    store: ObjectStore, md5: str, settings: FeatureSettings = TOLERANT
) -> dict[str, bytes]:
    prefix = settings.prefix(md5)
    return {key.removeprefix(prefix): store.get_bytes(key) for key in store.keys(prefix)}


def test_many_blocks_and_ranges_give_the_features_of_one_machine(
    engines: tuple[dict[str, bytes], dict[str, bytes]],
) -> None:
    on_spark, local = engines
    assert sorted(on_spark) == sorted(local)
    for name in (contract.INTERACTIONS_FILE, contract.MOVIES_FILE):
        assert pl.read_parquet(on_spark[name]).equals(pl.read_parquet(local[name]))
    quarantined = [
        pl.read_parquet(made[contract.QUARANTINE_FILE]).sort("file", "rule", "line")
        for made in engines
    ]
    assert quarantined[0].equals(quarantined[1])
    assert set(quarantined[0]["rule"]) == set(Rule) - {Rule.TITLE_LENGTH, Rule.ERASED}


def test_many_blocks_and_ranges_give_the_statistics_of_one_machine(
    module_store: ObjectStore,
    engines: tuple[dict[str, bytes], dict[str, bytes]],
) -> None:
    on_spark, local = (Stats.from_json(made[contract.STATS_FILE]) for made in engines)
    assert on_spark.model_dump(exclude={"sha256"}) == local.model_dump(exclude={"sha256"})
    assert on_spark.files[RATINGS_CSV].quarantine[Rule.DUPLICATE] == 300
    rated = {float(rating) for rating, count in on_spark.profile.ratings.items() if count}
    assert (min(rated), max(rated)) == (1, 10)


def test_a_dataset_of_invalid_rows_fails_permanently_and_leaves_nothing(
    spark: SparkSubmit, module_s3: S3Settings, module_store: ObjectStore
) -> None:
    strict = FeatureSettings(columns=COLUMNS, id_bits=64)
    md5 = _put(module_store, _rows()[:100] + INVALID_ROWS * 40)
    with pytest.raises(PermanentError, match=r"too many rows of ratings\.csv are invalid"):
        spark.run("frames", md5, strict, module_s3)
    assert read_stats(strict.prefix(md5), module_store) is None
    assert module_store.keys(contract.dataset_features_prefix(md5)) == []


def test_a_job_deletes_the_objects_of_a_killed_job(object_store: ObjectStore) -> None:
    md5 = "0" * 32
    killed = Exchange(FeatureSettings().prefix(md5), object_store).__enter__()
    object_store.put_bytes(killed.key("blocks", 0), b"1,1,4.0,1\n")
    with Exchange(FeatureSettings().prefix(md5), object_store) as next_one:
        assert object_store.keys(contract.dataset_features_prefix(md5)) == []
        object_store.put_bytes(next_one.key("blocks", 0), b"")
    assert object_store.keys(contract.dataset_features_prefix(md5)) == []


def test_a_missing_environment_is_a_configuration_error(
    tmp_path: Path, s3_settings: S3Settings
) -> None:
    spark = SparkSubmit(tmp_path / "spark-submit", "local[1]")
    with pytest.raises(ConfigurationError, match="make spark"):
        spark.run("frames", "0" * 32, FeatureSettings(), s3_settings)


def test_erased_users_are_in_no_features_of_a_deployment_with_spark(
    spark: SparkSubmit, module_s3: S3Settings, module_store: ObjectStore, tmp_path: Path
) -> None:
    """Spark leaves these features to the next task, and computes vectors from what that stored."""
    key, gone = b"k" * 32, USER + 7
    listed = ErasedUsers(key)
    erased = ErasedUsers(key, [listed.hash_of(gone)], "e" * 64)
    md5, settings = _put(module_store, _rows()), TOLERANT.model_copy(update={"erased": "e" * 64})
    spark.run("frames", md5, settings, module_s3)
    assert module_store.keys(settings.prefix(md5)) == []

    stats = generate_data_frames(md5, module_store, settings, tmp_path, erased=erased)
    module_store.delete([contract.dataset_key(md5, contract.DATASET_FILE)])
    spark.run("vectors", md5, settings, module_s3)
    features = _features(module_store, md5, settings)
    users = pl.read_parquet(features[contract.INTERACTIONS_FILE])["userId"]
    assert (gone in users, users.n_unique() > 1) == (False, True)
    assert stats.files[RATINGS_CSV].quarantine[Rule.ERASED] > 0
    assert stored_movie_vectors(module_store, stats, tmp_path) is not None
