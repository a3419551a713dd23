"""Two gateways in memory with a tunnel between, packets that really go through it, and pages of the first one."""

import html
import json
import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from culvert.control.listener import Peer
from culvert.dataplane.memory import MemoryPlane
from culvert.ipsec.verdict import Send
from culvert.model import auth
from culvert.rest.exchange import Answer, Request
from culvert.web.session import COOKIE, Session
from culvert.web.site import Site
from tests.control.live import ME, NOW
from tests.control.live import Site as Live
from tests.ipsec.building import packet_of

Json = Any
BASE = """net vlan /Common/external {{
    interfaces {{
        wan0 {{ }}
    }}
}}
net self /Common/outside {{
    address {own}/8
    vlan /Common/external
}}
net route /Common/default {{
    gw {gateway}
    network default
}}
ltm virtual /Common/forward {{
    destination 0.0.0.0:any
    ip-forward
    mask any
}}
"""
NEAR, FAR = ip_address("10.1.0.9"), ip_address("10.2.0.9")
NETWORKS = {"2.2.2.2": "10.1.0.0/16", "3.3.3.3": "10.2.0.0/16"}


def base(own: str) -> str:
    """What a gateway has without any tunnel."""
    return BASE.format(own=own, gateway=f"{own[:-1]}1")


def network(system: str) -> str:
    """What is behind a system."""
    octets = system.split(".")
    return NETWORKS.get(system, f"172.{octets[0]}.{octets[3]}.0/24")


def way(here: str, there: str, direction: str, number: int, more: str = "") -> str:
    """One direction of a tunnel between two systems: policy, SA and selector. `more`: lines of the SA."""
    networks = network(here), network(there)
    return f"""net ipsec ipsec-policy /Common/policy-{number} {{
    mode tunnel
    tunnel-local-address {here}
    tunnel-remote-address {there}
}}
net ipsec manual-security-association /Common/sa-{number} {{
    auth-key 0x{number:040x}
    destination-address {there}
    encrypt-key 0x{number + 7:032x}
    ipsec-policy /Common/policy-{number}
    source-address {here}
    spi {number}
{more}}}
net ipsec traffic-selector /Common/selector-{number} {{
    destination-address {networks[1]}
    direction {direction}
    ipsec-policy /Common/policy-{number}
    source-address {networks[0]}
}}
"""


class Visitors:
    """A door by which the token is the user's name, and every user has their own rights; root may everything."""

    def __init__(self, live: Live) -> None:
        self.live = live
        self.calls: list[str] = []

    def call(self, credentials: Mapping[str, str] | None, name: str, /, **args: Json) -> Json:
        self.calls.append(name)
        if name in ("extend", "logout"):
            return {}
        user = (credentials or {})["token"]
        peer = ME if user == "root" else Peer(pid=1, uid=99999, gid=99999, user=user, by_password=True)
        return json.loads(json.dumps(self.live.gateway.call(name, json.loads(json.dumps(args)), peer)))


class Two:
    """`now` is the clock of both gateways. The first one is looked at."""

    def __init__(self, directory: Path) -> None:
        self.now = NOW
        self.here, self.there = (self._gateway(directory / name) for name in ("here", "there"))
        self.door = Visitors(self.here)
        self.site = Site(self.door)  # type: ignore[arg-type]

    def _gateway(self, directory: Path) -> Live:
        directory.mkdir()
        return Live(directory, MemoryPlane(random=os.urandom, clock=lambda: self.now))

    def tunnel(self, more: str = "") -> None:
        """The same tunnel on both. `more`: lines of the SAs."""
        for live, own, out, back in (
            (self.here, "2.2.2.2", "out", "in"),
            (self.there, "3.3.3.3", "in", "out"),
        ):
            ways = way("2.2.2.2", "3.3.3.3", out, 1000, more) + way("3.3.3.3", "2.2.2.2", back, 2000, more)
            live.call("load", text=base(own) + ways, merge=False, verify=False)

    def load(self, *ways: str) -> None:
        """Other tunnels of the gateway that is looked at."""
        self.here.call("load", text=base("2.2.2.2") + "".join(ways), merge=False, verify=False)

    def user(self, name: str, role: str, place: str = auth.ALL_PARTITIONS) -> None:
        access = [{"name": place, "role": role}]
        properties = {"password": "correct horse 9", "partition-access": access}
        self.here.call("create", kind="auth user", name=name, properties=properties)

    def come(self, count: int, *, arrive: bool = True) -> list[bytes]:
        """Packets from the far network, protected; they arrive here, or get lost."""
        sent = [self._sent() for _ in range(count)]
        for packet in sent if arrive else ():
            self.arrive(packet)
        return sent

    def _sent(self) -> bytes:
        packet = packet_of(4, source=FAR, destination=NEAR)
        verdict = self.there.plane.outbound(packet, self.now)
        assert isinstance(verdict, Send), verdict
        return verdict.packet

    def arrive(self, packet: bytes) -> None:
        self.here.plane.inbound(packet, self.now)

    def go(self, count: int) -> None:
        """Packets into the far network."""
        for _ in range(count):
            self.here.plane.outbound(packet_of(4, source=NEAR, destination=FAR), self.now)

    def ask(self, method: str, url: str, form: dict[str, str] | None = None, user: str = "root", **more: str) -> Answer:
        """One request of a user; a form with the proof that it is of their page."""
        parts = urlsplit(url)
        csrf = Session(self.door, user, "").csrf  # type: ignore[arg-type]
        content = urlencode({"csrf": csrf, **form}).encode() if form is not None else b""
        headers = {"cookie": f"{COOKIE}={user}", "content-type": "application/x-www-form-urlencoded", **more}
        segments = tuple(part for part in parts.path.split("/") if part)
        return self.site.answer(Request(method, segments, dict(parse_qsl(parts.query)), headers, content, "192.0.2.9"))

    def open(self, url: str, user: str = "root") -> str:
        """The text of a page that has to be there."""
        answer = self.ask("GET", url, user=user)
        assert answer.status == 200, (url, answer.status, answer.octets)
        return answer.octets.decode()

    def close(self) -> None:
        self.here.close()
        self.there.close()


def words(page: str) -> str:
    """What a page says, without its marks."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.partition("<main")[2] or page)).split())
