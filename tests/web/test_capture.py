"""The page of packet captures: its form, what it shows while one runs and afterwards, and the file."""

import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether
from scapy.utils import rdpcap

from culvert.lab.namespace import Namespace
from culvert.rest.exchange import Answer
from tests.web.visits import Visits, site_a

ESP = (
    Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(src="3.3.3.3", dst="2.2.2.2", proto=50) / (b"\1" * 99)
)
ORDER = {"do": "start", "where": "/Common/external", "kind": "esp", "seconds": "20", "packets": "2", "snap": "65535"}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")


@pytest.fixture
def visits(tmp_path: Path) -> Iterator[Visits]:
    made = site_a(tmp_path)
    yield made
    made.house.close()


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    made = Namespace(f"cvcapweb{os.getpid()}")
    made.add()
    try:
        made.ip("link", "add", "wan0", "type", "veth", "peer", "name", "peer0")
        for end in ("wan0", "peer0"):
            made.ip("link", "set", end, "up")
        yield made
    finally:
        made.remove()


def started(visits: Visits, namespace: Namespace, **changes: str) -> Answer:
    return namespace.inside(lambda: visits.ask("POST", "/capture", ORDER | changes))


def wait_for_the_end(visits: Visits) -> None:
    deadline = time.monotonic() + 30
    while "Capture is running" in visits.open("/capture") and time.monotonic() < deadline:
        time.sleep(0.05)


def test_the_form_offers_what_the_user_may(visits: Visits) -> None:
    page = visits.open("/capture")
    assert '<option value="/Common/external" selected>external (link wan0)</option>' in page
    assert '<option value="decrypted"' in page
    visits.user("bob", "auditor")
    assert '<option value="decrypted"' not in visits.open("/capture")
    visits.user("eve", "guest")
    assert visits.ask("GET", "/capture").status == 403
    assert visits.ask("GET", "/capture/download").status == 403


def test_a_request_made_by_hand_gets_no_further(visits: Visits) -> None:
    visits.user("bob", "auditor")
    answer = visits.ask("POST", "/capture", ORDER | {"where": "decrypted"})
    assert answer.status == 403
    assert "may not capture what the tunnels carry in clear" in answer.octets.decode()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"host": "<b>"}, "host"),
        ({"seconds": "61"}, "seconds"),
        ({"packets": "x"}, "packets"),
        ({"snap": "1"}, "snap"),
        ({"port": "443"}, "port"),
    ],
)
def test_what_is_wrong_is_told_at_its_field(visits: Visits, changes: dict[str, str], field: str) -> None:
    answer = visits.ask("POST", "/capture", ORDER | changes)
    page = answer.octets.decode()
    assert answer.status == 400
    assert re.search(rf'<p class="error" id="h-{field}">', page)
    assert "<b>" not in page


@needs_root
@pytest.mark.network
def test_from_the_form_to_the_file(visits: Visits, namespace: Namespace, tmp_path: Path) -> None:
    assert started(visits, namespace).headers["Location"] == "/capture"
    running = visits.open("/capture?renew=1", hx_request="true")
    assert "Capture is running" in running and 'hx-trigger="every 1s"' in running and "<main" not in running
    assert started(visits, namespace).status == 403
    with namespace.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
        sender.bind(("peer0", 0))
        for _ in range(3):
            sender.send(bytes(ESP))
    wait_for_the_end(visits)
    page = visits.words("/capture")
    assert "Packets 2 of at most 2" in page
    assert "ESP 3.3.3.3 → 2.2.2.2 0x1010101 16843009" in page
    answer = visits.ask("GET", "/capture/download")
    assert answer.media == "application/vnd.tcpdump.pcap"
    assert re.fullmatch(r'attachment; filename="culvert-wan0-\d{8}-\d{6}\.pcap"', answer.headers["Content-Disposition"])
    path = tmp_path / "taken.pcap"
    path.write_bytes(answer.octets)
    assert [bytes(own) for own in rdpcap(str(path))] == [bytes(ESP)] * 2


@needs_root
@pytest.mark.network
def test_stop(visits: Visits, namespace: Namespace) -> None:
    started(visits, namespace, seconds="60")
    assert visits.post("/capture", do="stop") == "/capture"
    wait_for_the_end(visits)
    assert "No packet passed that fits the filter." in visits.open("/capture")


def test_nothing_to_download(visits: Visits) -> None:
    assert visits.ask("GET", "/capture/download").status == 404
