"""The release reader's downloads: a damaged folder, and objects that change while they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError

from model_files import TornModelError
from recsys.contract import MODEL_FILE, PUBLIC_MODEL_KEY, release_key
from recsys.releases import promote_release, roll_back
from tests.actors import an_actor
from tests.integration.site.readers import make_reader, s3_client
from tests.release_maker import Releases


class LargeReleases(Releases):
    """The models are too large for the buffers between server and client."""

    MODEL_REPEATS = 1_500_000


class OverwrittenInTheMiddle:
    """An S3 client whose objects change while they are read: after 1 MiB, ``overwrite`` is called.

    It is the real client, and so are the bytes that it delivers.
    """

    def __init__(self, s3: Any, overwrite: Callable[[], None]) -> None:
        self.s3 = s3
        self.overwrite: Callable[[], None] | None = overwrite

    def get_object(self, **which: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.s3.get_object(**which)
        body = answer["Body"]

        def chunks(size: int) -> Iterator[bytes]:
            yield body.read(1 << 20)
            if self.overwrite is not None:
                overwrite, self.overwrite = self.overwrite, None
                overwrite()
            yield from body.iter_chunks(size)

        return answer | {"Body": SimpleNamespace(iter_chunks=chunks)}


@pytest.fixture
def s3(services) -> Any:
    return s3_client(services)


def promote(services, release_id: str) -> None:
    promote_release(services, release_id, actor=an_actor())


def test_a_torn_file_in_the_folder_is_not_loaded(services, releases, s3, tmp_path):
    promote(services, releases.candidate(1))
    whole = releases.model_bytes(1)
    path = tmp_path / f"{hashlib.sha256(whole).hexdigest()}.keras"
    path.write_bytes(whole[: len(whole) // 2])
    assert make_reader(services, s3, tmp_path).live.model == whole


def test_a_model_that_is_overwritten_while_it_is_read_is_never_torn(services, s3, tmp_path):
    releases = LargeReleases(services)
    release_id = releases.candidate(1)
    promote(services, release_id)
    key, whole = release_key(release_id, MODEL_FILE), releases.model_bytes(1)
    other = b"x" * len(whole)
    changing = OverwrittenInTheMiddle(s3, lambda: services.store.put_bytes(key, other))
    reader = make_reader(services, changing, tmp_path)
    try:
        assert reader.live.model == whole
    except (TornModelError, BotoCoreError):
        assert list(tmp_path.iterdir()) == []
        assert reader.loaded is None
        services.store.put_bytes(key, whole)
        assert reader.live.model == whole, "the next attempt"


def test_the_public_model_is_whole_or_an_error_if_promotions_overwrite_it(
    services, s3, record_property
):
    """As docs/site-developer.md reads it, with a slow reader."""
    releases = LargeReleases(services)
    numbers = {releases.candidate(number): number for number in (1, 2)}
    first, second = numbers
    promote(services, first)

    def overwrite() -> None:
        promote_release(services, second, actor=an_actor("Ada"), override=True)
        roll_back(services, actor=an_actor())

    slow = OverwrittenInTheMiddle(s3, overwrite)
    outcomes = []
    while "whole" not in outcomes:
        assert len(outcomes) < 5
        answer = slow.get_object(Bucket=services.s3.bucket, Key=PUBLIC_MODEL_KEY)
        try:
            model = b"".join(answer["Body"].iter_chunks(1 << 20))
        except BotoCoreError:
            outcomes.append("error")
            continue
        labels = answer["Metadata"]
        if hashlib.sha256(model).hexdigest() != labels["sha256"]:
            outcomes.append("torn")
            continue
        assert model == releases.model_bytes(numbers[labels["release-id"]])
        outcomes.append("whole")
    assert slow.overwrite is None
    record_property("figure", f"the public model, overwritten while it is read: {outcomes}")
