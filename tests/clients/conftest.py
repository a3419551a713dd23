"""One pair of gateways for all clients: the lab, with the manual's procedure typed in."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CULVERT = Path(sys.executable).with_name("culvert")
PREFIX = "clients"


@pytest.fixture(scope="session")
def control_socket() -> Iterator[Path]:
    """The control socket of gateway a."""
    lab = [CULVERT, "lab", "--prefix", PREFIX]
    subprocess.run([*lab, "up"], check=True, capture_output=True, timeout=120)
    try:
        yield Path(f"/run/{PREFIX}-lab/a.sock")
    finally:
        subprocess.run([*lab, "down"], check=False, capture_output=True, timeout=60)
