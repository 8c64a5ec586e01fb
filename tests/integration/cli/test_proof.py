"""`recsys sign` and `recsys verify` with real servers: what they print, and their exit codes."""

from __future__ import annotations

from pathlib import Path

from recsys.contract import MODEL_FILE, release_key
from tests.command_line import World
from tests.signing_keys import make_keys


def test_a_person_signs_and_anybody_verifies(world: World, tmp_path: Path) -> None:
    [release_id] = world.promoted(1)
    keys, other = make_keys(tmp_path, "first"), make_keys(tmp_path, "other")
    place = ("--keys", str(keys.public))
    unsigned = world.recsys("verify", release_id, *place)
    assert (unsigned.code, unsigned.err) == (3, "")
    assert "the release is not signed" in unsigned.words

    assert "there is no key to sign with" in world.recsys("sign").err
    signed = world.recsys("sign", "--key", str(keys.private), "--reason", "from now on", "--json")
    assert [each["release_id"] for each in signed.json] == [release_id]
    assert signed.json[0]["key"] == keys.key.public.fingerprint
    again = world.recsys("sign", release_id, "--key", str(keys.private))
    assert "was already signed" in again.words
    assert "release_signed" in world.recsys("why", release_id, "--json").out

    proven = world.recsys("verify", release_id, *place, "--json")
    assert (proven.code, proven.err) == (0, "")
    assert (proven.json["verdict"], proven.json["changed"]) == ("proven", [])
    assert world.recsys("verify", *place, "--json").json["release_id"] == release_id, "the champion"
    assert world.recsys("verify", release_id).code == 3, "no public key is configured"
    refused = world.recsys("verify", release_id, "--keys", str(other.public))
    assert refused.code == 1
    assert keys.key.public.fingerprint in refused.words

    key = release_key(release_id, MODEL_FILE)
    world.services.store.put_bytes(key, b"another model")
    changed = world.recsys("verify", release_id, *place, "--json")
    assert changed.code == 1
    assert changed.json["changed"] == [key]
    assert f"✗ {key} found sha256" in world.recsys("verify", release_id, *place).words
    private = world.recsys("verify", release_id, "--keys", str(keys.private))
    assert private.code == 1
    assert keys.private.read_text().splitlines()[1] not in private.err + private.out
