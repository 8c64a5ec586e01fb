"""Words that a stranger would stumble over stay out of code and documents."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

SUFFIXES: Final = {
    ".py",
    ".pyi",
    ".md",
    ".html",
    ".j2",
    ".sql",
    ".yaml",
    ".yml",
    ".sh",
    ".toml",
    ".css",
    ".js",
}
RETIRED: Final = re.compile(
    r"\b(told|mend|mends|mended|mending|newcomers?|whoever|foretell|foretells|foretold|foretelling"
    r"|borne|whereof|thereof|thereby|hereby)\b",
    re.IGNORECASE,
)
# Names that outside users see keep their spelling, and this file lists the words.
ALLOWED: Final = re.compile(
    r"recsys\.alerts\.untold|recsys_alerts_untold|/newcomers?\b|copies_mended|public copies mended"
    r'|"mended"'
)
EXEMPT: Final = {
    "tests/unit/test_words.py",
    "src/recsys/ledger/migrations/0001_ledger.sql",
    "src/recsys/ledger/migrations/0002_alerts.sql",
}


def test_retired_words_do_not_come_back(repository: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    found = []
    for name in listed.stdout.splitlines():
        path = repository / name
        if path.suffix not in SUFFIXES or name in EXEMPT or not path.is_file():
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if match := RETIRED.search(ALLOWED.sub("", line)):
                found.append(f"{name}:{number}: {match[0]}")
    assert found == []
