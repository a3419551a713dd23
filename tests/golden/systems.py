"""The two systems of the procedure, each with a daemon's socket, and a shell at which tmsh and racoonctl are typed."""

import os
import re
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from scapy.layers.inet import ICMP, IP

from culvert.control.server import Handle, Server
from culvert.dataplane.memory import MemoryPlane
from culvert.ipsec.verdict import Deliver, Send
from culvert.racoonctl import main as racoonctl
from culvert.tmsh import main as tmsh
from tests.control.live import ME, NOW, Site
from tests.control.running import serving

PROGRAMS: dict[str, Callable[[list[str]], int]] = {"tmsh": tmsh.main, "racoonctl": racoonctl.main}
FILES = {"/var/lib/culvert/log/ipsec.log": "log/ipsec.log", "/etc/culvert/culvert.conf": "culvert.conf"}
"""Where a running system has them, and where in a site's directory they are here."""
TRAFFIC = re.compile(r"([AB]) sends (\d+) packets? of (\d+) octets from (\S+) to (\S+)")


class Plane(MemoryPlane):
    """Keeps send counters for as long as a test lasts, which is all that counter modes ask for."""

    features = replace(MemoryPlane.features, counter_journal=True)


class Answer(NamedTuple):
    """What a command printed, and how it ended."""

    status: int
    output: str
    errors: str

    @property
    def lines(self) -> list[str]:
        return (self.output + self.errors).splitlines()


class Systems:
    """Systems A and B, on the plane in memory, with a wire between them."""

    def __init__(self, sites: dict[str, Site], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
        self._sites = sites
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def type(self, system: str, command: str) -> Answer:
        """Run one command of a shell: tmsh and racoonctl as they are, and `cat` of one of FILES."""
        program, *words = shlex.split(command)
        if program == "cat":
            return Answer(0, (self._sites[system].directory / FILES[words[0]]).read_text(), "")
        self._monkeypatch.setenv("CULVERT_SOCKET", str(socket_of(self._sites[system])))
        status = PROGRAMS[program](words)
        return Answer(status, *self._capsys.readouterr())

    def happen(self, event: str) -> None:
        """Traffic: every packet has to arrive, protected on the wire."""
        traffic = TRAFFIC.fullmatch(event)
        assert traffic, f"nothing known happens in: {event}"
        near = traffic[1]
        sender, receiver = self._sites[near].plane, self._sites["B" if near == "A" else "A"].plane
        clear = bytes(IP(src=traffic[4], dst=traffic[5]) / ICMP() / bytes(int(traffic[3]) - 28))
        for _ in range(int(traffic[2])):
            sent = sender.outbound(clear, NOW)
            assert isinstance(sent, Send), sent
            assert sent.packet != clear
            arrived = receiver.inbound(sent.packet, NOW)
            assert isinstance(arrived, Deliver), arrived


def _as_root(site: Site) -> Handle:
    """Whoever runs the tests is root here."""
    return lambda name, args, peer: site.gateway.call(name, args, ME)


def socket_of(site: Site) -> Path:
    return site.directory / "culvertd.sock"


@contextmanager
def two_systems(place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Systems]:
    sites = {}
    for name in ("A", "B"):
        (place / name).mkdir()
        sites[name] = Site(place / name, Plane(random=os.urandom, clock=lambda: NOW))
    with ExitStack() as running:
        for site in sites.values():
            running.enter_context(serving(Server(socket_of(site), _as_root(site))))
        yield Systems(sites, capsys, monkeypatch)
    for site in sites.values():
        site.close()
