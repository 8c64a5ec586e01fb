"""`recsys recommender grants` prints the objects of k8s/base, in another namespace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from recsys import recommenders
from recsys.recommenders import Description
from tests.unit.deployment.test_kubernetes_manifests import KUBERNETES, Document


def books(**pod: Any) -> Description:
    return Description(
        name="sci_books",
        title="Books",
        source=("s3://books/books.zip",),
        trainer={"kubernetes": pod},  # type: ignore[arg-type]  # pydantic reads it
    )


def named(documents: list[Document]) -> dict[tuple[str, str], Document]:
    return {(one["kind"], one["metadata"]["name"]): one for one in documents}


@pytest.fixture
def base(repository: Path) -> dict[tuple[str, str], Document]:
    """All objects of the base but the site's."""
    folder = repository / "k8s/base"
    files = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    documents = [
        document
        for file in files
        if file != "site.yaml"
        for document in yaml.safe_load_all((folder / file).read_text())
        if document["metadata"]["name"] not in ("site", "recsys-site")
    ]
    for document in documents:
        metadata = document["metadata"]
        metadata["labels"] = {**metadata.get("labels", {}), "app.kubernetes.io/part-of": "recsys"}
        if document["kind"] != "Namespace":
            metadata["namespace"] = "recsys"
    return named(documents)


def test_the_objects_are_those_of_the_base_in_a_namespace_of_their_own(
    base: dict[tuple[str, str], Document],
) -> None:
    documents = recommenders.kubernetes_objects(books())
    assert documents[0]["kind"] == "Namespace", "others need it first"
    found = named(documents)
    found[("Namespace", "recsys")] = found.pop(("Namespace", "recsys-sci-books"))
    for (kind, _), document in found.items():
        if kind == "Namespace":
            document["metadata"]["name"] = "recsys"
        else:
            assert document["metadata"]["namespace"] == "recsys-sci-books"
            document["metadata"]["namespace"] = "recsys"
    assert found == base


def test_the_manifests_meet_the_schema_of_kubernetes_and_have_no_secret() -> None:
    text = recommenders.kubernetes_manifests(books(service_account="books-trainer"))
    documents = list(yaml.safe_load_all(text))
    for document in documents:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    kinds = {kind for kind, _ in named(documents)}
    assert "Secret" not in kinds, "applied again, it would replace the keys"
    assert ("ServiceAccount", "books-trainer") in named(documents)
    assert "-n recsys-sci-books create secret generic recsys-sci-books-trainer-s3" in text


def test_fields_of_a_description_come_first() -> None:
    own = recommenders.kubernetes_manifests(
        books(namespace="books", secret="books-keys", pull_secrets=["registry"])  # noqa: S106
    )
    assert "-n books create secret generic books-keys" in own
    assert "registry" in own
    assert "recsys-sci-books" not in own
    shared = recommenders.kubernetes_manifests(books(namespace="recsys", workload_identity=True))
    assert list(yaml.safe_load_all(shared)) == [], "the base has them, with its overlay"
    assert "create secret" not in shared


def test_two_recommenders_have_no_namespace_in_common() -> None:
    names = ["movie_rec_sys", "sci_books", "scibooks", "sci__books", "airflow_books"]
    found = {recommenders.Namespace(name).kubernetes_namespace for name in names}
    assert len(found) == len(names)
