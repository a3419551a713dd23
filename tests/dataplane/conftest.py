"""Fixtures of the tests that move real packets."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from culvert.dataplane.userspace import program
from tests.dataplane.topology import Gateway, Namespace, Wan


def _demand_root() -> None:
    if os.geteuid() != 0:
        pytest.fail("this test makes network namespaces: run it as root", pytrace=False)


@pytest.fixture
def native_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is started has the native engine, which is built where there is a cargo."""
    if not program.native_path().exists():
        pytest.skip("no native engine in this environment")
    monkeypatch.setenv(program.CHOICE, program.NATIVE)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    """An empty network namespace."""
    _demand_root()
    made = Namespace("alone")
    yield made
    made.delete()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    """One gateway, its links `wan` and `lan` ending nowhere."""
    _demand_root()
    made = Gateway("gwa", tmp_path)
    try:
        for link in ("wan", "lan"):
            made.run("ip", "link", "add", link, "type", "veth", "peer", "name", f"{link}-far")
            made.run("ip", "link", "set", f"{link}-far", "up")
        yield made
    finally:
        made.delete()


@pytest.fixture
def wan(tmp_path: Path) -> Iterator[Wan]:
    """client - gwA == wan == gwB - server; nothing started yet."""
    _demand_root()
    made = Wan(tmp_path)
    before = _lost_at_processors()
    try:
        yield made
    finally:
        made.delete()
        # Told where the test fails: these queues are the whole machine's, so another test's flood can fill them.
        print(f"packets that the processors' queues lost meanwhile: {_lost_at_processors() - before}")


def _lost_at_processors() -> int:
    """Of /proc/net/softnet_stat: what net.core.netdev_max_backlog had no room for."""
    return sum(int(line.split()[1], 16) for line in Path("/proc/net/softnet_stat").read_text().splitlines())
