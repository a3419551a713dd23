"""What README and its neighbours promise is there."""

import re
from pathlib import Path

import pytest

from culvert.cli.main import TOOLS
from tests.house.tree import ROOT, committed, shown

PAGES = [path for path in committed() if path.suffix == ".md"]
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
LAB_COMMANDS = {"up", "status", "exec", "tmsh", "verify", "demo", "down"}


def code(page: str) -> str:
    """What stands in code: fenced blocks and inline code."""
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", page, re.DOTALL))


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "LICENSE", ".ci/run"])
def test_the_house_has_its_pages(name: str) -> None:
    assert (ROOT / name).stat().st_size > 200


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_make_target_that_a_page_names_exists(page: Path) -> None:
    names = set(re.findall(r"\bmake ([a-z]+)\b", code(page.read_text())))
    assert names <= TARGETS


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_tool_that_a_page_names_exists(page: Path) -> None:
    words = re.findall(r"\bculvert (lab|pcap|[a-z]+)\b(?: ([a-z]+))?", code(page.read_text()))
    assert {tool for tool, _ in words} <= set(TOOLS) | {"help"}
    assert {command for tool, command in words if tool == "lab" and command} <= LAB_COMMANDS


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_first_commands_of_the_readme_are_demo_and_test() -> None:
    commands = re.findall(r"\bmake ([a-z]+)\b", (ROOT / "README.md").read_text())
    assert commands[:2] == ["demo", "test"]


def test_every_target_explains_itself() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert {"demo", "test", "check", "lab", "bench", "help"} <= TARGETS
    for target in TARGETS:
        assert re.search(rf"^{target}:.*## .+", makefile, re.MULTILINE)
