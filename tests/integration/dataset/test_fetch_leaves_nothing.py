"""A fetch that fails half-way: full disks, a store that fails, a kill; nothing of it stays."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from recsys import contract
from recsys.dataset import FetchSettings, fetch_dataset, read_source_md5
from recsys.errors import DiskFullError, ServiceUnavailableError, TransientError
from recsys.object_store import ObjectStore, S3Settings
from tests.web_server import MD5, NOISE, ZIP, Web, make_zip, md5_of

QUICK = FetchSettings(attempts=2, first_wait_s=0)
KEY = contract.dataset_key(MD5, contract.DATASET_FILE)
PART = 8 << 20
"""boto3 uploads larger files in parts."""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def small_disk(temporary: Path) -> Iterator[Path]:
    """The same on a disk of 2 MB."""
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(temporary)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no disk of its own can be mounted: it takes root")
    yield temporary
    subprocess.run(["umount", str(temporary)], check=True)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A dataset that takes six parts to upload, in a file."""
    folder = tmp_path_factory.mktemp("large")
    path = folder / "ml.zip"
    path.write_bytes(make_zip(ratings=NOISE * 15, movies=b"movieId,title,genres\n"))
    assert path.stat().st_size > 5 * PART
    path.with_name("ml.zip.md5").write_text(md5_of(path.read_bytes()))
    yield str(path)
    shutil.rmtree(folder)


def uploads(store: ObjectStore) -> list[str]:
    """Keys of multipart uploads that nobody finished or aborted."""
    found = store._client.list_multipart_uploads(Bucket=store.bucket)
    return [upload["Key"] for upload in found.get("Uploads", [])]


@pytest.mark.parametrize("says_length", [True, False], ids=["announced", "in the middle"])
def test_a_full_disk_is_transient_and_says_what_to_do(
    web: Web, object_store: ObjectStore, small_disk: Path, says_length: bool
) -> None:
    source = web.publish(says_length=says_length)
    with pytest.raises(DiskFullError, match=r"is full.*TMPDIR") as caught:
        fetch_dataset(source, MD5, object_store, settings=QUICK)
    assert isinstance(caught.value, TransientError)
    assert str(small_disk) in str(caught.value)
    # What is known not to fit is not begun: a full disk harms others.
    assert ("bytes free" in str(caught.value.found)) == says_length
    assert list(small_disk.iterdir()) == []
    assert object_store.keys("") == []
    # Nothing of it was kept that would be in the way of the next try.
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert fetch_dataset(source, MD5, object_store, settings=QUICK).fetched


def test_a_full_disk_is_not_tried_again_with_the_next_mirror(
    web: Web, object_store: ObjectStore, small_disk: Path
) -> None:
    source = f"{web.publish()} {web.publish(name='two.zip')}"
    with pytest.raises(DiskFullError):
        fetch_dataset(source, MD5, object_store, settings=QUICK)
    assert web.asked == [("/ml.zip", None)]


def failing(part: int) -> Callable[..., Any]:
    """A handler that has one part of every upload fail."""

    def handle(request: Any, **about: Any) -> AWSResponse | None:
        if f"partNumber={part}&" not in f"{request.url}&":
            return None
        return AWSResponse(request.url, 500, {}, _Raw())

    return handle


class _Raw:
    def stream(self, *args: object, **kwargs: object) -> Iterator[bytes]:
        yield b"<Error><Code>InternalError</Code></Error>"


@pytest.mark.parametrize("part", [1, 5])
def test_a_part_of_the_upload_that_fails_leaves_nothing_and_the_next_try_succeeds(
    s3_settings: S3Settings, large: str, temporary: Path, part: int
) -> None:
    store = ObjectStore.connect(s3_settings.model_copy(update={"max_attempts": 2}))
    md5 = read_source_md5(large)
    events = store._client.meta.events
    handler = failing(part)
    events.register("before-send.s3.UploadPart", handler)
    with pytest.raises(ServiceUnavailableError, match="InternalError"):
        fetch_dataset(large, md5, store)
    assert store.keys("") == []
    assert uploads(store) == []
    assert list(temporary.iterdir()) == []
    events.unregister("before-send.s3.UploadPart", handler)
    fetched = fetch_dataset(large, md5, store)
    assert store.sha256(fetched.key) == fetched.sha256


def test_parts_that_a_killed_upload_left_behind_are_freed_by_the_next(
    object_store: ObjectStore, large: str
) -> None:
    md5 = read_source_md5(large)
    key = contract.dataset_key(md5, contract.DATASET_FILE)
    for begun in (key, key + ".other"):
        upload = object_store._client.create_multipart_upload(Bucket=object_store.bucket, Key=begun)
        object_store._client.upload_part(
            Bucket=object_store.bucket,
            Key=begun,
            UploadId=upload["UploadId"],
            PartNumber=1,
            Body=b"left",
        )
    assert sorted(uploads(object_store)) == [key, key + ".other"]
    fetched = fetch_dataset(large, md5, object_store)
    assert uploads(object_store) == [key + ".other"]
    assert object_store.sha256(key) == fetched.sha256


def test_an_account_that_may_not_list_uploads_may_fetch(
    object_store: ObjectStore, large: str, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(request: Any, **about: Any) -> AWSResponse:
        return AWSResponse(request.url, 403, {}, _Raw())

    object_store._client.meta.events.register("before-send.s3.ListMultipartUploads", refuse)
    assert fetch_dataset(large, read_source_md5(large), object_store).fetched
    assert "may remain" in caplog.text


def environment(s3: S3Settings) -> dict[str, str]:
    """What leads a child to the store."""
    assert s3.access_key
    assert s3.secret_key
    return {
        **os.environ,
        "RECSYS_S3_BUCKET": s3.bucket,
        "RECSYS_S3_ENDPOINT": str(s3.endpoint),
        "AWS_ACCESS_KEY_ID": s3.access_key.get_secret_value(),
        "AWS_SECRET_ACCESS_KEY": s3.secret_key.get_secret_value(),
    }


CHILD = """
import pathlib, re, sys
from recsys.dataset import fetch_dataset, read_source_md5
from recsys.object_store import ObjectStore, S3Settings

def peak():
    # Not getrusage: its peak is that of the process that started this one, if that was larger.
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])

store = ObjectStore.connect(S3Settings.from_environment())
store.keys("")
md5 = read_source_md5(sys.argv[1])
before = peak()
fetch_dataset(sys.argv[1], md5, store)
print(peak() - before, peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to measure with")
def test_the_zip_is_never_held_in_memory(
    s3_settings: S3Settings,
    web: Web,
    large: str,
    record_property: Callable[[str, object], None],
) -> None:
    # What comes before a zip is no part of it, and so this is one, too.
    content = Path(large).read_bytes() * 2
    source = web.publish(content=content, md5=md5_of(content))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, source],
        env=environment(s3_settings),
        capture_output=True,
        text=True,
        check=True,
    )
    more, peak = (int(kb) / 1024 for kb in done.stdout.split())
    size = len(content) / (1 << 20)
    record_property(
        "figure", f"fetch of {size:.0f} MiB: {more:.0f} MiB above import, {peak:.0f} MiB in all"
    )
    assert more < size / 2
    assert peak <= 150


def test_a_fetch_removes_what_a_killed_one_left(
    web: Web, s3_settings: S3Settings, object_store: ObjectStore, temporary: Path
) -> None:
    source = web.publish(stalls_after=len(ZIP) // 2)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, source],
        env={**environment(s3_settings), "TMPDIR": str(temporary)},
        stderr=subprocess.PIPE,
    )
    try:
        while not any(f.stat().st_size for f in temporary.glob("*/*.zip")):
            assert child.poll() is None, child.stderr and child.stderr.read().decode()
    finally:
        child.kill()
        child.communicate()
    assert len(list(temporary.iterdir())) == 1
    web.answers["/ml.zip"].stalls_after = None
    assert fetch_dataset(source, MD5, object_store).fetched
    assert list(temporary.iterdir()) == []
