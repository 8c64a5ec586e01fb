"""A plugin of pytest under which a skipped test has failed: ``-p tests.no_skips``.

For machines where everything is installed, such as those of the workflow. `tests.run_suites` loads
it if ``RECSYS_TEST_NO_SKIPS`` is set. ``RECSYS_TEST_MAY_SKIP`` is a regular expression for the
reasons that are accepted, because another step runs these tests.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator

import pytest

_MAY_SKIP = os.environ.get("RECSYS_TEST_MAY_SKIP")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns the skip of a test into a failure."""
    report = yield
    # An expected failure is reported as a skip, too.
    if not hasattr(report, "wasxfail"):
        _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turns the skip of a whole file into a failure."""
    report = yield
    _fail_if_skipped(report)
    return report


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if not report.skipped:
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if _MAY_SKIP and re.search(_MAY_SKIP, reason):
        return
    report.outcome = "failed"
    report.longrepr = f"{reason}\n\nA skip is a failure here (RECSYS_TEST_NO_SKIPS)."
