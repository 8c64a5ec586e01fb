"""A fetch that fails midway (full disk, failing store, kill) leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
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

FAST = FetchSettings(attempts=2, first_wait_s=0)
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
    """An empty folder for temporary files, on a disk of 2 MB."""
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(temporary)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small disk requires root")
    yield temporary
    subprocess.run(["umount", str(temporary)], check=True)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A dataset in a file, large enough for an upload in three parts."""
    folder = tmp_path_factory.mktemp("large")
    path = folder / "ml.zip"
    path.write_bytes(make_zip(ratings=NOISE * 6, movies=b"movieId,title,genres\n"))
    assert path.stat().st_size > 2 * PART
    path.with_name("ml.zip.md5").write_text(md5_of(path.read_bytes()))
    yield str(path)
    shutil.rmtree(folder)


def uploads(store: ObjectStore) -> list[str]:
    """Returns the keys of unfinished multipart uploads."""
    found = store._client.list_multipart_uploads(Bucket=store.bucket)
    return [upload["Key"] for upload in found.get("Uploads", [])]


@pytest.mark.parametrize("sends_length", [True, False], ids=["known size", "unknown size"])
def test_a_full_disk_is_a_transient_error_with_a_hint(
    web: Web, object_store: ObjectStore, small_disk: Path, sends_length: bool
) -> None:
    source = web.publish(sends_length=sends_length)
    with pytest.raises(DiskFullError, match=r"is full.*TMPDIR") as caught:
        fetch_dataset(source, MD5, object_store, settings=FAST)
    assert isinstance(caught.value, TransientError)
    assert str(small_disk) in str(caught.value)
    # If the size is known, nothing is written: a full disk harms other programs.
    assert ("bytes free" in str(caught.value.found)) == sends_length
    assert list(small_disk.iterdir()) == []
    assert object_store.keys("") == []
    # Nothing is left that would make the next attempt fail.
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert fetch_dataset(source, MD5, object_store, settings=FAST).fetched


def test_after_a_full_disk_the_next_mirror_is_not_tried(
    web: Web, object_store: ObjectStore, small_disk: Path
) -> None:
    source = f"{web.publish()} {web.publish(name='two.zip')}"
    with pytest.raises(DiskFullError):
        fetch_dataset(source, MD5, object_store, settings=FAST)
    assert web.asked == [("/ml.zip", None)]


def fail_part(part: int) -> Callable[..., Any]:
    """Returns a handler that makes one part of every upload fail."""

    def handle(request: Any, **about: Any) -> AWSResponse | None:
        if f"partNumber={part}&" not in f"{request.url}&":
            return None
        return AWSResponse(request.url, 500, {}, _Raw())

    return handle


class _Raw:
    def stream(self, *args: object, **kwargs: object) -> Iterator[bytes]:
        yield b"<Error><Code>InternalError</Code></Error>"


@pytest.mark.parametrize("part", [1, 3])
def test_a_failed_upload_leaves_nothing_and_the_next_attempt_succeeds(
    s3_settings: S3Settings, large: str, temporary: Path, part: int
) -> None:
    store = ObjectStore.connect(s3_settings.model_copy(update={"max_attempts": 2}))
    md5 = read_source_md5(large)
    events = store._client.meta.events
    handler = fail_part(part)
    events.register("before-send.s3.UploadPart", handler)
    with pytest.raises(ServiceUnavailableError, match="InternalError"):
        fetch_dataset(large, md5, store)
    assert store.keys("") == []
    assert uploads(store) == []
    assert list(temporary.iterdir()) == []
    events.unregister("before-send.s3.UploadPart", handler)
    fetched = fetch_dataset(large, md5, store)
    assert store.sha256(fetched.key) == fetched.sha256


def test_the_parts_of_a_killed_upload_are_deleted_by_the_next_one(
    object_store: ObjectStore, large: str
) -> None:
    md5 = read_source_md5(large)
    key = contract.dataset_key(md5, contract.DATASET_FILE)
    for upload_key in (key, key + ".other"):
        upload = object_store._client.create_multipart_upload(
            Bucket=object_store.bucket, Key=upload_key
        )
        object_store._client.upload_part(
            Bucket=object_store.bucket,
            Key=upload_key,
            UploadId=upload["UploadId"],
            PartNumber=1,
            Body=b"left",
        )
    assert sorted(uploads(object_store)) == [key, key + ".other"]
    fetched = fetch_dataset(large, md5, object_store)
    assert uploads(object_store) == [key + ".other"]
    assert object_store.sha256(key) == fetched.sha256


def test_an_account_without_the_right_to_list_uploads_can_fetch(
    object_store: ObjectStore, large: str, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(request: Any, **about: Any) -> AWSResponse:
        return AWSResponse(request.url, 403, {}, _Raw())

    object_store._client.meta.events.register("before-send.s3.ListMultipartUploads", refuse)
    assert fetch_dataset(large, read_source_md5(large), object_store).fetched
    assert "may remain" in caplog.text


def environment(s3: S3Settings) -> dict[str, str]:
    """Returns the environment of a child process that uses the store."""
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
import boto3.s3.transfer, requests
from recsys.dataset import archive, download, fetch, mirrors, sources, web
from recsys.dataset import fetch_dataset, read_source_md5
from recsys.object_store import ObjectStore, S3Settings

def peak():
    # getrusage would report the peak of the parent process if that was larger.
    return int(re.search(r"VmHWM:\\s+(\\d+)", pathlib.Path("/proc/self/status").read_text())[1])

store = ObjectStore.connect(S3Settings.from_environment())
store.keys("")
md5 = read_source_md5(sys.argv[1])
before = peak()
fetch_dataset(sys.argv[1], md5, store)
print(peak() - before, peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to measure with")
def test_the_zip_is_never_loaded_into_memory(
    s3_settings: S3Settings,
    web: Web,
    large: str,
    record_property: Callable[[str, object], None],
) -> None:
    # Bytes before a zip are ignored, so several zips in a row are a valid zip.
    content = Path(large).read_bytes() * 5
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


def test_a_fetch_removes_the_files_of_a_killed_one(
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
            time.sleep(0.02)
    finally:
        child.kill()
        child.communicate()
    assert len(list(temporary.iterdir())) == 1
    web.answers["/ml.zip"].stalls_after = None
    assert fetch_dataset(source, MD5, object_store).fetched
    assert list(temporary.iterdir()) == []
