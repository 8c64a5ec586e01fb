"""What the documents name exists: links, anchors, commands, options, variables, make targets."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer
import typer.main
from rich.text import Text

from recsys.alerts.settings import AlertKind
from recsys.cli.app import app
from recsys.cli.examples import EXAMPLES
from tests.settings_list import airflow_variables, site_variables
from tests.source_files import source_files

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
COMMANDS: Final[dict[str, Any]] = typer.main.get_command(app).commands  # type: ignore[attr-defined]  # a group
# Typer has click within; this is the base of all that its parser raises.
USAGE_ERROR: Final[type[Any]] = typer.BadParameter.__mro__[1]
ACTION_PARTS: Final = ("**What it means:**", "**What to look at:**", "**What to do:**")
_CODE: Final = re.compile(
    r"^(`{3,})[^\n]*\n(.*?)^\1|(?<!`)`([^`]+)`(?!`)", re.DOTALL | re.MULTILINE
)
_INDENTED: Final = re.compile(r"^ {4}(\S.*)$", re.MULTILINE)
_VARIABLE: Final = re.compile(r"\bRECSYS_[A-Z][A-Z0-9_]*[A-Z0-9]\b")
# Said in shells and servers of the reader's own, or only to ourselves.
_OURS: Final = frozenset({"RECSYS_SERVICE"})


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def without_code(text: str) -> str:
    return re.sub(r"^(`{3,}).*?^\1", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    heads = re.findall(r"^#+ +(.+?) *$", without_code(page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def links(page: Path) -> Iterator[str]:
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if "://" not in target and not target.startswith("mailto:"):
            yield target


def spans(page: Path) -> Iterator[str]:
    """Code between backticks."""
    for match in _CODE.finditer(page.read_text()):
        if not match[1]:
            # A span may be broken over two lines, as any words.
            yield " ".join(match[3].split())


def lines(page: Path) -> Iterator[str]:
    """Lines of code, indented or fenced; a line that a backslash continues is one."""
    text = page.read_text()
    blocks = [match[2] for match in _CODE.finditer(text) if match[1]]
    for block in (*blocks, "\n".join(_INDENTED.findall(text))):
        yield from block.replace("\\\n", " ").splitlines()


def snippets(page: Path) -> Iterator[str]:
    """Code, indented, fenced or between backticks."""
    yield from spans(page)
    yield from lines(page)


def command_lines(text: str) -> Iterator[list[str]]:
    """What follows `recsys` in each command of a line of shell."""
    try:
        bare = re.sub(r'"?\$\(([^()]*)\)"?', r" \1 ", text).replace("\\", " ")
        words = shlex.split(bare, comments=True)
    except ValueError:
        return
    for place, word in enumerate(words):
        if word.endswith("bin/recsys") or word == "recsys":
            before = words[place - 1] if place else ";"
            if "=" in before or before in (";", "|", "&&", "$", "--", "eval") or place == 0:
                line = words[place + 1 :]
                ends = [k for k, w in enumerate(line) if w in ("|", "&&", ";", ",", "#", ">")]
                yield line[: ends[0]] if ends else line


def commands_in(texts: Callable[[Path], Iterator[str]]) -> list[tuple[str, list[str]]]:
    """The commands in the code of all documents, with the document's name."""
    return [
        (name_of(page), line)
        for page in PAGES
        for text in texts(page)
        for line in command_lines(text)
        if line and not line[0].startswith(("-", ".")) and line[0] != "COMMAND"
    ]


def check_names(line: list[str]) -> None:
    """Checks names of commands and options; what a span of text mentions may be a part."""
    names, *rest = line
    for name in names.rstrip(",;:)").split("|"):
        assert name in COMMANDS, f"there is no command {name}"
        known = {o for p in COMMANDS[name].params for o in (*p.opts, *p.secondary_opts)}
        for word in rest:
            if re.match(r"--?[a-z]", word):
                option = word.split("=")[0].rstrip(")")
                assert option in known | {"--help"}, f"recsys {name} has no option {option}"


def check_command(line: list[str]) -> None:
    """Parses a whole line as the command line does."""
    name, *rest = line
    assert name in COMMANDS, f"there is no command {name}"
    try:
        COMMANDS[name].make_context(name, list(rest))
    except typer.Exit:
        assert {"--help", "-h"} & set(rest)
    except USAGE_ERROR as error:
        said = error.format_message()
        # The documents name files of their readers.
        assert re.search(r"(file|directory|path) '[^']+' does not exist", said), said


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    lost = []
    for target in links(page):
        path, _, anchor = target.replace("\\_", "_").partition("#")
        to = (page.parent / path).resolve() if path else page
        if not to.exists() or (anchor and to.suffix == ".md" and anchor not in anchors(to)):
            lost.append(target)
    assert lost == []


def test_every_document_can_be_reached_from_the_readme() -> None:
    reached: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        reached.add(page)
        found = {(page.parent / target.partition("#")[0]).resolve() for target in links(page)}
        ahead += [path for path in found - reached if path.suffix == ".md" and path.exists()]
    files = {
        path for path in (ROOT / "docs").rglob("*") if path.suffix in (".md", ".png", ".ipynb")
    }
    linked = {
        (p.parent / target.partition("#")[0]).resolve() for p in reached for target in links(p)
    }
    assert files - reached - linked == set()


@pytest.mark.parametrize(("texts", "check"), [(spans, check_names), (lines, check_command)])
def test_every_documented_command_parses(
    texts: Callable[[Path], Iterator[str]], check: Callable[[list[str]], None]
) -> None:
    found = commands_in(texts)
    assert len(found) > 50
    wrong = []
    for page, line in found:
        # Usage lines of docs/commands/ name what to put there.
        if page.startswith("docs/commands/") and "[OPTIONS]" in line:
            continue
        try:
            check(line)
        except AssertionError as error:
            wrong.append(f"{page}: {' '.join(line)}: {error}")
    assert wrong == []


def test_every_setting_of_the_trainer_that_is_named_exists() -> None:
    known = set(
        re.findall(r"^\| `([\w.]+)` \|", (ROOT / "docs/build-settings.md").read_text(), re.M)
    )
    named = {
        (name_of(page), name)
        for page in PAGES
        for name in re.findall(r"recsys train .*?--set ([a-z_.]+)=", page.read_text())
    }
    assert named
    assert {(page, name) for page, name in named if name not in known} == set()


@pytest.mark.parametrize("line", ["train --sett a=1", "similar", "similar a b", "tune --trials x"])
def test_a_line_that_does_not_parse_is_found(line: str) -> None:
    with pytest.raises(AssertionError):
        check_command(line.split())


def test_every_command_shows_an_example_that_parses() -> None:
    assert set(EXAMPLES) == set(COMMANDS)
    for name, lines in EXAMPLES.items():
        found = [line for text in lines for line in command_lines(text)]
        assert found, name
        for line in found:
            check_command(line)
        assert all(text in COMMANDS[name].epilog.replace("\\[", "[") for text in lines), name


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_speaks_json(name: str) -> None:
    assert "--json" in {o for p in COMMANDS[name].params for o in p.opts}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_nothing_in_a_help_text_is_swallowed_as_markup(name: str) -> None:
    command = COMMANDS[name]
    texts = [command.help, *(getattr(p, "help", None) for p in command.params)]
    for text in filter(None, texts):
        assert Text.from_markup(text).plain == text.replace("\\[", "[")


def test_completion_can_be_installed() -> None:
    group = typer.main.get_command(app)
    assert "--install-completion" in {o for p in group.params for o in p.opts}


@pytest.mark.parametrize(
    ("typed", "completed"), [("recsys rollb", "rollback"), ("recsys rollback --rea", "--reason")]
)
def test_completion_completes_commands_and_options(typed: str, completed: str) -> None:
    asked = {
        "_RECSYS_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(typed.count(" ")),
    }
    recsys = Path(sys.executable).with_name("recsys")
    answer = subprocess.run(
        [recsys], env=os.environ | asked, capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.stdout.split() == [completed]


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        (name_of(page), match[1])
        for page in PAGES
        for text in snippets(page)
        if (match := re.match(r"(?:\$ )?make ([a-z-]+)", text))
    }
    assert named
    assert {(page, target) for page, target in named if target not in targets} == set()


def test_every_file_and_module_that_is_named_exists() -> None:
    """The changelog names files of earlier editions."""
    files = re.compile(
        r"(?<![\w/.-])((?:docker|tests|k8s|src|trainer|verifier|site|dags|plugins|docs|examples"
        r"|notebooks|spark)/(?!\.)[\w./-]*\w)"
    )
    modules = re.compile(r"-m ((?:docs|examples|recsys|tests|trainer|verifier)\b[\w.]*)")
    named = [
        (name_of(page), name)
        for page in PAGES
        if page.name != "CHANGELOG.md"
        for text in snippets(page)
        for name in (
            *files.findall(text),
            *(found.replace(".", "/") for found in modules.findall(text)),
        )
    ]
    assert len(named) > 80
    roots = (ROOT, ROOT / "src")
    missing = {
        (page, name)
        for page, name in named
        if not any((root / f"{name}{end}").exists() for root in roots for end in ("", ".py"))
    }
    assert missing == {("docs/data-scientist.md", "trainer/another_model.py")}, "the reader's own"


def test_every_test_that_is_named_exists() -> None:
    files = {path.name for path in source_files(ROOT / "tests")}
    named = {
        (name_of(page), name)
        for page in PAGES
        if page.name != "CHANGELOG.md"
        for name in re.findall(r"\btest_\w+\.py\b", page.read_text())
    }
    assert named
    assert {(page, name) for page, name in named if name not in files} == set()


def setting_variables() -> set[str]:
    """Variables that the code reads."""
    return airflow_variables() | site_variables()


def code_variables() -> set[str]:
    """Variables that sources and manifests name whole."""
    files = [
        path
        for folder in ("src", "dags", "plugins", "site", "trainer", "docker", "k8s", "tests")
        for path in source_files(ROOT / folder)
        if path.suffix in {".py", ".yaml", ".yml", ".sh", ".json"} or "Dockerfile" in path.name
        if path.name != "test_docs.py"
    ]
    files += [ROOT / "Makefile", ROOT / "docker-compose.yaml"]
    return {name for path in files for name in _VARIABLE.findall(path.read_text(errors="replace"))}


def test_every_variable_that_is_documented_exists() -> None:
    known = setting_variables() | code_variables()
    strange = {
        (name_of(page), name)
        for page in PAGES
        for name in _VARIABLE.findall(page.read_text())
        # RECSYS_SITE_* and the like name a family.
        if name not in known and not any(k.startswith(name + "_") for k in known)
    }
    assert strange == set()


def test_every_variable_that_is_read_is_documented() -> None:
    text = "\n".join(page.read_text() for page in PAGES)
    named = set(_VARIABLE.findall(text))
    # A list may leave out what all its names begin with: `RECSYS_SITE_HOST`, `_PORT`.
    shortened = set(re.findall(r"`(_[A-Z][A-Z_0-9]+)`", text))
    missing = {
        name
        for name in setting_variables() - named - _OURS
        if not any(name.endswith(short) for short in shortened)
    }
    assert missing == set()


def runbook_entries() -> dict[str, str]:
    text = (ROOT / "docs/runbook.md").read_text()
    parts = re.split(r"^### (.+)$", text, flags=re.MULTILINE)[1:]
    return {head.replace(" ", "-"): re.split(r"^## ", body, flags=re.MULTILINE)[0]
            for head, body in zip(parts[::2], parts[1::2], strict=True)}  # fmt: skip


def rule_anchors() -> list[str]:
    rules = (ROOT / "docker/monitoring/rules").glob("*.yaml")
    names = [n for path in rules for n in re.findall(r"- alert: (\w+)", path.read_text())]
    return sorted({re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower() for name in names})


@pytest.mark.parametrize(
    "anchor", sorted({*(kind.value.replace("_", "-") for kind in AlertKind), *rule_anchors()})
)
def test_every_alert_has_an_entry_in_the_runbook(anchor: str) -> None:
    entry = runbook_entries()[anchor]
    places = [entry.index(part) for part in ACTION_PARTS]
    assert places == sorted(places)
    assert all(len(words.split()) >= 1 for words in re.split(r"\*\*[^*]+:\*\*", entry)[1:]), (
        "a part is empty"
    )
