"""Runs that sign their releases, and a stranger who verifies them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from recsys import ledger, pipeline
from recsys.contract import DATASET_FILE, SIGNATURE_FILE, dataset_key, release_prefix
from recsys.gate import GateSettings
from recsys.ledger import Action, Actor
from recsys.pipeline import Run
from recsys.releases import promote_release
from recsys.services import Services
from recsys.signing import SigningKey
from tests.release_maker import Releases
from tests.signing_keys import KeyPair


@dataclass
class World:
    """A pipeline with a key, and servers that verify with its public key."""

    services: Services
    releases: Releases
    keys: KeyPair

    def run(self, number: int) -> Run:
        return Run(
            run_id=f"run-{number}",
            source="https://ann:secret@files.example.org/ml.zip",
            build=self.releases.build(number),
        )

    def prepare(self, number: int) -> str:
        """Makes the release of a run up to its verification."""
        self.releases.put_features(number)
        md5 = self.releases.build(number).dataset_md5
        self.services.store.put_bytes(dataset_key(md5, DATASET_FILE), b"zip %d" % number)
        return self.releases.verified(number)[0].release_id

    def gate(self, number: int, key: SigningKey | None) -> None:
        decision = pipeline.gate_candidate(
            self.services, self.run(number), GateSettings(), signing_key=key
        )
        assert decision.accepted, decision.reason

    def signed(self, number: int) -> str:
        release_id = self.prepare(number)
        self.gate(number, self.keys.key)
        return release_id

    def promote(self, number: int) -> None:
        """As the task of the run does."""
        run = self.run(number)
        actor = Actor.from_run(run.run_id, "the gate accepted it")
        promote_release(self.services, run.release_id, actor=actor, run_id=run.run_id)

    def champion(self) -> str | None:
        with self.services.connect() as conn:
            found = ledger.champion(conn)
            return found.release_id if found else None

    def trusting(self, place: Path | None) -> World:
        services = replace(self.services, verification_keys=place)
        return World(services, Releases(services), self.keys)

    def events(self, release_id: str) -> list[str]:
        with self.services.connect() as conn:
            found = ledger.history(conn, release_id)
        return [each["action"] for each in found if each["action"] == Action.RELEASE_SIGNED]


def download(world: World, release_id: str, folder: Path) -> Path:
    """As `aws s3 sync s3://bucket/releases/<id> folder` does."""
    prefix = release_prefix(release_id)
    for key in world.services.store.keys(prefix):
        path = folder / release_id / key.removeprefix(prefix)
        path.parent.mkdir(parents=True, exist_ok=True)
        world.services.store.download(key, path)
    return folder / release_id


def stranger_verifies(folder: Path, public: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "model_signing", "verify", "key", str(folder)),
            *("--signature", str(folder / SIGNATURE_FILE), "--public_key", str(public)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
