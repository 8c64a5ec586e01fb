"""`recsys recommender` and `recsys -r NAME`, with real servers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from recsys import recommenders
from recsys.releases import promote_release
from tests.actors import an_actor
from tests.command_line import CommandLine, World
from tests.release_maker import Releases


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for descriptions, with a path that fits on a line."""
    return tmp_path_factory.mktemp("r")


@pytest.fixture
def command(world: World, folder: Path) -> CommandLine:
    """The command with a folder of descriptions of its own."""
    variables = {"RECSYS_RECOMMENDERS": str(folder)}
    environment = world.recsys.environment | variables
    return replace(world.recsys, environment=environment, cwd=folder)


def test_a_recommender_comes_is_used_and_goes_by_commands(
    world: World, command: CommandLine, folder: Path
) -> None:
    added = command("recommender", "add", "books", "--source", "https://example.com/books.zip")
    assert (added.code, "made database books" in added.words) == (0, True), added.words
    file = folder / "books.yaml"
    assert command("recommender", "check", "books").words == "books: in order"
    listed = command("recommender", "list", "--json").json
    assert [one["name"] for one in listed["recommenders"]] == ["books"]
    grants = command("recommender", "grants", "books").out
    for part, text in (
        ("sql", 'create database "books"'),
        ("bucket", "s3:PutObject"),
        ("kubernetes", "kind: RoleBinding"),
    ):
        alone = command("recommender", "grants", "books", "--only", part).out
        assert text in alone
        assert alone in grants, "each part is printed by itself, for a pipe"
    books = recommenders.services_of(recommenders.read_description(file), world.services)
    champion = Releases(books).candidate(1)
    promote_release(books, champion, actor=an_actor())
    assert champion in command("-r", "books", "status").words
    assert all(key.startswith("books/") for key in world.services.store.keys(""))

    refused = command("recommender", "remove", "books", "--yes")
    assert (refused.code, "serves a release" in refused.words) == (1, True)
    # An export that was made before is not written over, and nothing is removed without one.
    out = folder / "books-export"
    out.mkdir()
    (out / "index.json").touch()
    refused = command("recommender", "remove", "books", "--even-served", "--yes")
    assert (refused.code, "books-export is not empty" in refused.words) == (1, True)
    assert file.exists()
    (out / "index.json").unlink()
    gone = command("recommender", "remove", "books", "--even-served", "--yes")
    assert (gone.code, "exported to books-export" in gone.words) == (0, True), gone.words
    assert not file.exists()
    assert [key for key in world.services.store.keys("") if key.startswith("books/")] == []

    command("recommender", "add", "books", "--source", "https://example.com/books.zip")
    again = command("-r", "books", "import", str(out))
    assert (again.code, f"champion {champion}" in again.words) == (0, True), again.words
    assert (
        command("recommender", "remove", "books", "--even-served", "--no-export", "--yes").code == 0
    )


def test_an_invalid_description_is_named_with_its_line(command: CommandLine, folder: Path) -> None:
    file = folder / "books.yaml"
    file.write_text("name: books\ntitle: Books\nsource: s3://b/z.zip\nsteps: [rm]\n")
    done = command("recommender", "check")
    assert done.code == 1
    assert all(part in done.words for part in ("books.yaml, line", "steps"))


def test_roles_are_printed_for_airflow_and_changed_only_there(
    world: World, command: CommandLine, folder: Path
) -> None:
    source = "source: https://example.com/books.zip"
    (folder / "books.yaml").write_text(f"name: books\ntitle: Books\n{source}\nroles: [readers]\n")
    refused = command("recommender", "roles")
    assert refused.code == 1
    assert "in a container of Airflow only" in refused.words
    # A command for a shell is on one line, however long it is.
    printed = command("recommender", "grants", "books", "--json").out
    assert "airflow roles create readers\n" in printed
    assert "DAG:books_rollback" in printed
