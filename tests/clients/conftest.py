"""One pair of gateways for all clients: the lab, with the manual's procedure typed in."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CULVERT = Path(sys.executable).with_name("culvert")


@pytest.fixture(scope="session")
def control_socket() -> Iterator[Path]:
    """The control socket of gateway a."""
    prefix = f"clients{os.getpid()}"
    lab = [CULVERT, "lab", "--prefix", prefix]
    subprocess.run([*lab, "up"], check=True, capture_output=True, timeout=120)
    try:
        yield Path(f"/run/{prefix}-lab/a.sock")
    finally:
        subprocess.run([*lab, "down"], check=False, capture_output=True, timeout=60)
