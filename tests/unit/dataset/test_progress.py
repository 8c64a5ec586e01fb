from __future__ import annotations

import threading

import pytest

from recsys.dataset.progress import LogProgress

MB = 1_000_000


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("INFO", logger="recsys.dataset")
    return caplog


def test_progress_and_speed_are_logged_every_few_seconds(
    lines: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    progress = LogProgress("fetched", every=3, clock=lambda: now)
    for second in range(1, 9):
        now = float(second)
        progress(second * 25 * MB, 200 * MB)
    assert lines.messages == [
        "fetched 75 of 200 MB (38 %), 25.0 MB/s",
        "fetched 150 of 200 MB (75 %), 25.0 MB/s",
    ]


def test_quick_operations_log_nothing(lines: pytest.LogCaptureFixture) -> None:
    progress = LogProgress("fetched")
    for done in range(100):
        progress(done, 100)
    assert lines.messages == []


def test_the_total_may_be_unknown_and_the_operation_may_start_over(
    lines: pytest.LogCaptureFixture,
) -> None:
    now = 0.0
    progress = LogProgress("fetched", every=1, clock=lambda: now)
    for done, total in ((9 * MB, None), (1 * MB, 0), (3 * MB, None)):
        now += 2
        progress(done, total)
    assert lines.messages == [
        "fetched 9 MB, 4.5 MB/s",
        "fetched 1 MB, started over",
        "fetched 3 MB, 1.0 MB/s",
    ]


def test_the_bytes_of_several_threads_are_added_up(lines: pytest.LogCaptureFixture) -> None:
    now = 0.0
    add = LogProgress("stored", every=1, clock=lambda: now).adding(100 * MB)
    threads = [threading.Thread(target=add, args=(10 * MB,)) for _ in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = 2.0
    add(10 * MB)
    assert lines.messages == ["stored 100 of 100 MB (100 %), 50.0 MB/s"]
