"""Signed releases with real PostgreSQL and S3: verified by a stranger, changed, refused."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg.types.json import Jsonb

from recsys import ledger, monitoring, pipeline
from recsys.contract import (
    DATASET_FILE,
    MANIFEST_FILE,
    MEASURED_FILE,
    MODEL_FILE,
    PROVENANCE_FILE,
    SIGNATURE_FILE,
    Manifest,
    dataset_key,
    release_key,
    table_name,
)
from recsys.errors import ArtifactError, ConfigurationError, RecsysError
from recsys.ledger import Action, State
from recsys.releases import (
    Verdict,
    admit_candidate,
    prove_release,
    recover_promotion,
    roll_back,
    sign_release,
)
from recsys.services import Services
from recsys.signing import make_bundle, make_statement
from tests.actors import an_actor
from tests.release_maker import Releases
from tests.signed_releases import World, download, stranger_verifies
from tests.signing_keys import make_keys


@pytest.fixture
def world(services: Services, tmp_path: Path) -> World:
    keys = make_keys(tmp_path, "first")
    verifying = replace(services, verification_keys=keys.public)
    return World(verifying, Releases(verifying), keys)


def test_a_run_signs_what_a_stranger_with_the_public_key_verifies(
    world: World, tmp_path: Path
) -> None:
    release_id = world.signed(1)
    world.services.store.put_bytes(release_key(release_id, "report.html"), b"made later")
    folder = download(world, release_id, tmp_path)
    found = stranger_verifies(folder, world.keys.public)
    assert found.returncode == 0, found.stderr
    refused = stranger_verifies(folder, make_keys(tmp_path, "another").public)
    assert refused.returncode != 0
    model = folder / MODEL_FILE
    model.write_bytes(model.read_bytes()[:-1] + b"X")
    refused = stranger_verifies(folder, world.keys.public)
    assert refused.returncode != 0
    assert MODEL_FILE in refused.stdout + refused.stderr

    world.promote(1)
    proof = prove_release(world.services, release_id)
    assert proof.verdict is Verdict.PROVEN, proof.steps
    names = [step.name for step in proof.steps]
    md5 = world.releases.build(1).dataset_md5
    assert names[0] == dataset_key(md5, DATASET_FILE)
    assert names[-1] == "recsys.current_release"
    assert world.events(release_id) == [Action.RELEASE_SIGNED]


def test_the_provenance_names_all_inputs_and_no_secret(world: World) -> None:
    release_id = world.signed(1)
    data = world.services.store.get_bytes(release_key(release_id, PROVENANCE_FILE))
    assert b"secret" not in data
    document = json.loads(data)
    definition = document["predicate"]["buildDefinition"]
    build = world.releases.build(1)
    assert document["predicateType"] == "https://slsa.dev/provenance/v1"
    assert definition["externalParameters"]["settings"] == build.settings
    assert definition["externalParameters"]["source"] == "https://files.example.org/ml.zip"
    named = {each["name"]: each["digest"] for each in definition["resolvedDependencies"]}
    assert named[dataset_key(build.dataset_md5, DATASET_FILE)]["md5"] == build.dataset_md5
    assert named["trainer"] == {"sha256": "a" * 64}
    assert len(named) == 4
    subjects = {each["name"] for each in document["subject"]}
    assert {MODEL_FILE, MANIFEST_FILE, MEASURED_FILE} < subjects
    assert len([name for name in subjects if name.startswith("recsys.")]) == 3
    # The private key is in none of the objects.
    secret = world.keys.private.read_text().splitlines()[1].encode()
    store = world.services.store
    assert not [key for key in store.keys("") if secret in store.get_bytes(key)]


def change_object(name: str) -> Callable[[World, str], str]:
    def change(world: World, release_id: str) -> str:
        key = release_key(release_id, name)
        data = world.services.store.get_bytes(key)
        world.services.store.put_bytes(key, bytes([data[0] ^ 1]) + data[1:])
        return key

    return change


def change_model_and_all_records(world: World, release_id: str) -> str:
    """As somebody does who may write the bucket and the ledger."""
    store = world.services.store
    data = b"another model"
    store.put_bytes(release_key(release_id, MODEL_FILE), data)
    key = release_key(release_id, MANIFEST_FILE)
    document = json.loads(store.get_bytes(key))
    for artifact in document["artifacts"]:
        if artifact["name"] == MODEL_FILE:
            artifact |= {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    manifest = Manifest.model_validate(document).to_json()
    store.put_bytes(key, manifest)
    sha256 = hashlib.sha256(manifest).hexdigest()
    update(world, release_id, "manifest", Jsonb(json.loads(manifest)))
    update(world, release_id, "manifest_sha256", sha256)
    return release_key(release_id, MODEL_FILE)


def update(world: World, release_id: str, column: str, value: object) -> None:
    with world.services.connect() as conn:
        changed = conn.execute(
            psycopg.sql.SQL("update recsys.releases set {} = %s where release_id = %s").format(
                psycopg.sql.Identifier(column)
            ),
            (value, release_id),
        )
        assert changed.rowcount == 1


def change_build(world: World, release_id: str) -> str:
    update(world, release_id, "build", Jsonb({"dataset_md5": "0" * 32}))
    return "recsys.releases"


def change_recorded_digest(world: World, release_id: str) -> str:
    """A row of vectors and the digest that the ledger has of it."""
    name = f"recsys.{table_name('movie_vectors', release_id)}"
    with world.services.connect() as conn:
        found = ledger.get(conn, release_id)
        changed = {**found.tables["movie_vectors"], "digest": "0" * 64}
    update(world, release_id, "tables", Jsonb({**found.tables, "movie_vectors": changed}))
    return name


def change_a_vector(world: World, release_id: str) -> str:
    name = table_name("movie_vectors", release_id)
    with world.services.connect() as conn:
        conn.execute(
            f"update recsys.{name} set vector = (select vector from recsys.{name} "
            "where movieid = 2) where movieid = 1"
        )
    return f"recsys.{name}"


def sign_as_a_stranger(world: World, release_id: str) -> str:
    store, key = world.services.store, release_key(release_id, SIGNATURE_FILE)
    stranger = make_keys(world.keys.public.parent, "stranger")
    store.put_bytes(key, make_bundle(make_statement(release_id, {"a": "0" * 64}, ()), stranger.key))
    return key


def take_the_signature_of_another(world: World, release_id: str) -> str:
    store, key = world.services.store, release_key(release_id, SIGNATURE_FILE)
    other = world.signed(9)
    store.put_bytes(key, store.get_bytes(release_key(other, SIGNATURE_FILE)))
    return key


CHANGES: dict[str, Callable[[World, str], str]] = {
    "model": change_object(MODEL_FILE),
    "manifest": change_object(MANIFEST_FILE),
    "measurement": change_object(MEASURED_FILE),
    "provenance": change_object(PROVENANCE_FILE),
    "towers": change_object("towers/user_towers.parquet"),
    "signature": change_object(SIGNATURE_FILE),
    "model and all records": change_model_and_all_records,
    "build": change_build,
    "a vector": change_a_vector,
    "digest of a table": change_recorded_digest,
    "key": sign_as_a_stranger,
    "signature of another": take_the_signature_of_another,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_release_is_refused_and_the_change_is_named(
    world: World, change: Callable[[World, str], str]
) -> None:
    champion = world.signed(1)
    world.promote(1)
    release_id = world.signed(2)
    changed = change(world, release_id)
    with pytest.raises(RecsysError) as refused:
        world.promote(2)
    assert release_id in str(refused.value) or "movie_vectors" in str(refused.value)
    assert world.champion() == champion
    proof = prove_release(world.services, release_id)
    assert proof.verdict is Verdict.CHANGED
    assert changed in [step.name for step in proof.steps if step.result == "changed"]
    assert prove_release(world.services, champion).verdict is Verdict.PROVEN


def test_a_rollback_and_a_repeated_verification_refuse_a_changed_release(world: World) -> None:
    first, second = world.signed(1), world.signed(2)
    world.promote(1)
    world.releases.judge(second, "run-2")
    world.promote(2)
    change_model_and_all_records(world, first)
    with pytest.raises(ArtifactError, match="is not what was signed"):
        roll_back(world.services, actor=an_actor())
    with pytest.raises(ArtifactError, match="is not what was signed"):
        admit_candidate(world.services, first)
    with pytest.raises(ArtifactError, match="is not what was signed"):
        sign_release(world.services, first, world.keys.key, actor=an_actor())
    assert world.champion() == second
    [problem] = [each for each in monitoring.problems(world.services) if "signed" in each]
    assert first in problem


def test_releases_from_before_the_key_are_refused_until_a_person_signs_them(world: World) -> None:
    before = world.trusting(None)
    first, second = before.prepare(1), before.prepare(2)
    before.gate(1, None)
    before.promote(1)
    before.gate(2, None)
    before.promote(2)
    assert prove_release(before.services, second).verdict is Verdict.UNPROVEN

    # The champion stays and can be recovered; only a change of the champion needs a signature.
    recover_promotion(world.services, actor=an_actor())
    assert world.champion() == second
    assert sum("not signed" in each for each in monitoring.problems(world.services)) == 2
    with pytest.raises(ArtifactError, match=r"not signed.*recsys sign"):
        roll_back(world.services, actor=an_actor())
    # Running an old build again does not sign it.
    world.gate(1, world.keys.key)
    assert prove_release(world.services, first).verdict is Verdict.UNPROVEN

    for release_id in (first, second):
        done = sign_release(world.services, release_id, world.keys.key, actor=an_actor())
        assert (done.changed, done.previous_key) == (True, None)
    again = sign_release(world.services, first, world.keys.key, actor=an_actor())
    assert not again.changed
    assert monitoring.problems(world.services) == []
    assert world.events(first) == [Action.RELEASE_SIGNED]
    assert roll_back(world.services, actor=an_actor()).to_release == first
    assert prove_release(world.services, first).verdict is Verdict.PROVEN


def test_a_key_is_replaced_without_a_moment_in_which_a_release_is_refused(
    world: World, tmp_path: Path
) -> None:
    release_id = world.signed(1)
    new = make_keys(tmp_path, "new")
    only_new = world.trusting(new.public)
    with pytest.raises(ArtifactError, match="not trusted here"):
        only_new.promote(1)
    with pytest.raises(ConfigurationError, match="is not among the public keys"):
        sign_release(world.services, release_id, new.key, actor=an_actor())

    folder = tmp_path / "trusted"
    folder.mkdir()
    for pair in (world.keys, new):
        (folder / pair.public.name).write_bytes(pair.public.read_bytes())
    both = world.trusting(folder)
    both.promote(1)
    done = sign_release(both.services, release_id, new.key, actor=an_actor())
    assert done.previous_key == world.keys.key.public.fingerprint
    assert prove_release(only_new.services, release_id).verdict is Verdict.PROVEN
    assert prove_release(world.services, release_id).verdict is Verdict.CHANGED
    assert stranger_verifies(download(world, release_id, tmp_path), new.public).returncode == 0
    assert len(world.events(release_id)) == 2


def test_a_key_that_nobody_trusts_stops_the_run_before_its_release_is_a_candidate(
    world: World, tmp_path: Path
) -> None:
    release_id = world.prepare(1)
    with pytest.raises(ConfigurationError, match="is not among the public keys"):
        world.gate(1, make_keys(tmp_path, "wrong").key)
    with world.services.connect() as conn:
        assert ledger.get(conn, release_id).state is State.BUILDING
    world.gate(1, world.keys.key)
    world.promote(1)


@pytest.mark.parametrize("killed_at", ["complete", "note_signature"])
def test_a_run_that_is_killed_after_signing_is_finished_by_its_next_try(
    world: World, killed_at: str
) -> None:
    release_id = world.prepare(1)
    child = os.fork()
    if child == 0:

        def kill(*_: object, **__: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        owner = ledger if killed_at == "complete" else pipeline.decision.releases
        setattr(owner, killed_at, kill)
        try:
            world.gate(1, world.keys.key)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert world.services.store.head(release_key(release_id, SIGNATURE_FILE))
    assert world.events(release_id) == []
    world.gate(1, world.keys.key)
    world.gate(1, world.keys.key)
    assert world.events(release_id) == [Action.RELEASE_SIGNED]
    world.promote(1)
    assert prove_release(world.services, release_id).verdict is Verdict.PROVEN
