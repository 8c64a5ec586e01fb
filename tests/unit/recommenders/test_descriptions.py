"""Descriptions of recommenders: what is accepted, and what an error of one says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import SecretStr

from recsys import recommenders
from recsys.contract import SITE_ROLE, RatingScale
from recsys.database import PostgresSettings
from recsys.errors import ConfigurationError
from recsys.gate import GateSettings
from recsys.recommenders import Description, Namespace

BOOKS = "name: books\ntitle: Book recommender\nsource: https://example.com/books.zip\n"


def written(folder: Path, text: str, name: str = "books") -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(text)
    return file


def test_the_movie_recommender_is_as_before_there_were_descriptions(repository: Path) -> None:
    found = recommenders.read_descriptions(repository / "recommenders")
    assert found.errors == {}
    assert found.valid == recommenders.read_descriptions(None).valid
    movies = found.valid["movie_rec_sys"]
    names = movies.namespace
    assert names.dag_ids == (
        "movie_rec_sys",
        "movie_rec_sys_rollback",
        "movie_rec_sys_recover",
        "movie_rec_sys_tune",
        "movie_rec_sys_erase",
    )
    assert names.dataset_asset == "movie_dataset_md5"
    assert (names.database, names.key_prefix, names.site_role) == (None, "", SITE_ROLE)
    assert movies.gate == GateSettings()
    assert movies.connections.model_dump() == {
        "s3": "recsys_s3",
        "postgres": "recsys_pg_vector_backend",
        "trainer_s3": "recsys_trainer_s3",
        "source": "recsys_source",
        "signing": "recsys_signing",
    }


def test_a_description_of_three_lines_is_a_recommender(tmp_path: Path) -> None:
    books = recommenders.read_description(written(tmp_path, BOOKS))
    assert books.source == ("https://example.com/books.zip",)
    assert books.namespace.database == "books"
    assert books.namespace.key_prefix == "books/"
    assert books.namespace.site_role == "recsys_site_books"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (BOOKS + "colour: red\n", 4, "colour"),
        (BOOKS + "gate:\n  max_ndcg: 2\n", 5, "gate.max_ndcg 2"),
        (BOOKS + "source: again\n", 1, "source more than once"),
        (BOOKS + "gate: {max_ndcg: 0.5, max_ndcg: 0.6}\n", 4, "max_ndcg more than once"),
        (BOOKS + "owner: &x a\ntags: *x\n", 4, "an alias"),
        (BOOKS + "owner: !!python/object/apply:os.system ['true']\n", 4, "constructor"),
        (BOOKS + 'schedule: "@weekly"\n', 4, "cron expression of five fields"),
        (BOOKS + "schedule: 99 4 * * *\n", 4, "next date"),
        (BOOKS + "schedule: 0 0 31 2 *\n", 4, "next date"),
        (BOOKS + "trainer:\n  image: trainer:latest\n", 5, "trainer.image"),
        (BOOKS + "trainer:\n  launcher: nomad\n", 5, "trainer.launcher"),
        (BOOKS + "trainer:\n  launcher: docker\n  workers: 2\n", 4, "several workers"),
        (BOOKS + "trainer:\n  kubernetes:\n    namespace: A_b\n", 6, "kubernetes.namespace"),
        (BOOKS + "trainer:\n  kubernetes:\n    template: /x\n", 6, "kubernetes.template"),
        (BOOKS + "trainer:\n  docker: {memory: lots}\n", 5, "trainer.docker.memory"),
        (BOOKS + "alerts:\n  webhook: https://x.example/y\n", 5, "alerts.webhook"),
        (BOOKS + 'alerts:\n  email_to: ["a@b.c\\nBcc: d@e.f"]\n', 5, "alerts.email_to"),
        (BOOKS + "alerts:\n  kinds: [nonsense]\n", 5, "alerts.kinds"),
        (BOOKS + "max_age_days: .inf\n", 4, "max_age_days"),
        (BOOKS + "build:\n  trainer:\n    seed: many\n", 6, "build.trainer.seed"),
        (BOOKS + "title: [\n", 5, "expected"),
        (BOOKS.replace("books\n", "films\n", 1), 1, "films"),
        (BOOKS.replace("Book recommender", '"two\\nlines"'), 2, "title"),
        (BOOKS.replace("source: ", "source: [a b, ").replace(".zip", ".zip]"), 3, "blank"),
        ("name: books\ntitle: Books\n", 1, "source is missing"),
        ("- a\n", None, "no mapping"),
        ("", None, "no mapping"),
    ],
)
def test_an_invalid_description_names_file_line_field_and_what_is_expected(
    tmp_path: Path, text: str, line: int | None, says: str
) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        recommenders.read_description(file)
    place = f"{file}, line {line};" if line else f"{file};"
    assert place in str(caught.value)
    assert says in str(caught.value)
    assert caught.value.expected


@pytest.mark.parametrize("content", [b"name: \xff\n", b"#" * 70_000, b"name: \x00\n"])
def test_a_file_that_is_no_text_or_too_large_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "books.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigurationError, match="invalid"):
        recommenders.read_description(file)


def test_an_invalid_description_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    written(tmp_path, BOOKS)
    bad = written(tmp_path, "name: films\n", "films")
    # Neither a half-written file nor one of a recommender that is being removed.
    (tmp_path / ".music.yaml.7").write_text("name")
    (tmp_path / "songs.yaml.removing").write_text("name")
    found = recommenders.read_descriptions(tmp_path)
    assert list(found.valid) == ["books"]
    assert list(found.errors) == [bad]


@pytest.mark.parametrize(
    "name",
    [
        *("", "ab", "Books", "books-1", "1books", "books;drop", "b" * 41, "../books", "books/x"),
        *(
            "recsys",
            "postgres",
            "template1",
            "airflow",
            "recsys_site",
            "pg_books",
            "releases",
            "reader",
        ),
        *("books_rollback", "books_recover", "books_tune", "books_erase", "bücher", "books_"),
    ],
)
def test_a_name_that_is_taken_or_needs_quotes_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        Namespace(name)


def test_no_two_recommenders_have_a_name_in_common() -> None:
    names = ["movie_rec_sys", "movie_rec_sys_2", "books", "books_de", "booksrollback"]
    made = [Namespace(name) for name in names]
    for what in ("weekly_dag", "dataset_asset", "database", "key_prefix", "site_role"):
        values = [getattr(one, what) for one in made]
        assert len(set(values)) == len(values), what
    ids = [dag_id for one in made for dag_id in one.dag_ids]
    assert len(set(ids)) == len(ids)


def test_the_published_schema_is_that_of_the_code(repository: Path) -> None:
    published = json.loads((repository / "recommenders/schema.json").read_text())
    assert published == recommenders.description_schema(), (
        "run `python -m docs.make_description_schema`"
    )


def test_the_guide_lists_every_field(repository: Path) -> None:
    guide = (repository / "docs/recommenders.md").read_text()
    for name in Description.model_fields:
        assert f"`{name}`" in guide
    parts = (
        *(recommenders.Connections, recommenders.Trainer, recommenders.PodFields),
        *(recommenders.ContainerFields, recommenders.AlertRoute),
    )
    for name in [name for part in parts for name in part.model_fields]:
        assert f"`{name}`" in guide, name


def test_a_new_description_is_valid_whatever_its_title(tmp_path: Path) -> None:
    title = "Bücher: 'a' & #b"
    text = recommenders.template("books", title, "s3://dumps/a.zip https://mirror/a.zip")
    found = recommenders.read_description(written(tmp_path, text))
    assert (found.title, len(found.source)) == (title, 2)
    with pytest.raises(ConfigurationError, match="no description"):
        recommenders.template("books", "two\nlines", "a.zip")


def test_the_readers_role_of_the_first_recommender_stays_the_one_that_is_set() -> None:
    dsn = SecretStr("postgresql://u@h/recsys")
    shared = PostgresSettings(dsn=dsn, site_role="website")
    assert recommenders.postgres_of(Namespace("movie_rec_sys"), shared) == shared
    books = recommenders.postgres_of(Namespace("books"), shared)
    assert (books.site_role, "dbname=books" in books.address()) == ("recsys_site_books", True)


def test_the_example_of_the_guide_has_twenty_lines_and_a_scale(
    repository: Path, tmp_path: Path
) -> None:
    guide = (repository / "docs/recommenders.md").read_text()
    example = guide.split("### A scale from 1 to 10")[1].split("```yaml\n")[1].split("```")[0]
    assert len(example.splitlines()) == 20
    file = tmp_path / "anime.yaml"
    file.write_text(example)
    found = recommenders.read_description(file)
    assert found.build
    assert found.build.features.scale == RatingScale(min=1, max=10)
    # What a description leaves out of a scale is that of stars.
    file.write_text(example.replace("{min: 1, max: 10}", "{max: 10, step: 1}"))
    with pytest.raises(ConfigurationError, match=r"anime\.yaml.*scale"):
        recommenders.read_description(file)
