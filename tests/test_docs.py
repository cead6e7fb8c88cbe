"""What the documents say exists: linked files, make targets, commands, tools and settings."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from nightlab import settings
from nightlab.cli import COMMANDS

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "agents", "skills", "tools", "state")
PAGES = sorted([*ROOT.glob("*.md"), *(page for folder in FOLDERS for page in (ROOT / folder).rglob("*.md"))])
WRITTEN = [page for page in PAGES if page.is_relative_to(ROOT / "docs") or page.parent == ROOT]
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def code(page: Path) -> Iterator[str]:
    """The lines of fenced blocks and the inline code of a page."""
    text = page.read_text("utf-8")
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        yield from block.splitlines()
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    links = [link for link in _LINK.findall(page.read_text("utf-8")) if not re.match(r"\w+:", link)]
    for link in links:
        target, _, anchor = link.partition("#")
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{name(page)} links to {target}"
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), f"{name(page)} links to #{anchor} of {name(file)}"


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = {target for line in code(page) for target in re.findall(r"\bmake ([a-z]+)", line)}
    assert named <= targets


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_every_command_exists(page: Path) -> None:
    calls = re.compile(r"(?:^|[\s/;])nightlab(?: --lab \S+)? ([a-z]+)\b")
    named = {command for line in code(page) for command in calls.findall(line)}
    assert named <= set(COMMANDS)


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_every_setting_in_the_environment_exists(page: Path) -> None:
    named = set(re.findall(r"\bNIGHTLAB_([A-Z_]+)\b", page.read_text("utf-8")))
    assert {key.lower() for key in named} <= set(settings.KEYS)


def test_the_readme_says_the_two_commands_first() -> None:
    first_screen = (ROOT / "README.md").read_text("utf-8").splitlines()[:14]
    assert [line.split()[2] for line in first_screen if line.startswith("$ make")] == ["demo", "test"]


def test_no_document_knows_one_machine() -> None:
    machine = re.compile(r"(?<![\w.])/(?:home|root|work|Users|opt|tmp)/\w+")
    assert {name(page): found for page in PAGES if (found := machine.findall(page.read_text("utf-8")))} == {}


def test_the_changelog_knows_the_version() -> None:
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.MULTILINE)
    assert version is not None
    assert f"## [{version[1]}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")
