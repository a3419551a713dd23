"""Who may import whom: the contracts in pyproject.toml, which draw ARCHITECTURE.md's rings."""

import subprocess
import sys
from pathlib import Path

from tests.house.tree import PACKAGE, ROOT

KNOWN_PACKAGES = {
    "cli",
    "config",
    "control",
    "dataplane",
    "ipsec",
    "lab",
    "model",
    "observe",
    "plan",
    "racoonctl",
    "rest",
    "tmsh",
    "web",
}


def lint(*arguments: str) -> "subprocess.CompletedProcess[str]":
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-logo", "--no-cache", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_every_import_keeps_to_the_rings() -> None:
    outcome = lint()
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def test_a_new_package_gets_a_ring() -> None:
    found = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert found <= KNOWN_PACKAGES, "write its contract into pyproject.toml and its name into KNOWN_PACKAGES"


def test_the_rules_can_fail(tmp_path: Path) -> None:
    """The same contracts over a tree with one import up."""
    (tmp_path / "culvert").symlink_to(PACKAGE)
    settings = (ROOT / "pyproject.toml").read_text()
    wrong = settings.replace(
        '    "culvert.model",\n    "culvert.ipsec",\n]', '    "culvert.ipsec",\n    "culvert.model",\n]'
    )
    assert wrong != settings
    path = tmp_path / "pyproject.toml"
    path.write_text(wrong)
    outcome = lint("--config", str(path))
    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    assert "not allowed to import" in outcome.stdout
