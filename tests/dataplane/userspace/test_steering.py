"""The nftables text: as it was agreed on, and as the kernel takes it."""

import time
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from culvert.change import Address, Forwarder, Service
from culvert.dataplane.userspace import nftables
from culvert.dataplane.userspace.steering import REASONS, Steering, forwarder_counter, render
from culvert.ipsec.sa import Direction
from culvert.ipsec.selector import PortRange, Selector
from culvert.ipsec.spd import Policy
from tests.dataplane.topology import Namespace

GOLDEN = Path(__file__).parent / "golden" / "steering.nft"
OUT, IN = Direction.OUT, Direction.IN


def policy(direction: Direction, source: str, destination: str, order: int = 1, **fields: object) -> Policy:
    family = ip_network(source).version
    return Policy(
        direction=direction,
        selector=Selector(source=ip_network(source), destination=ip_network(destination), **fields),  # type: ignore[arg-type]
        order=order,
        label=f"/Common/ts{order}",
        reqid=1,
        tunnel_source=ip_address("2.2.2.2" if family == 4 else "fd0f::2"),
        tunnel_destination=ip_address("3.3.3.3" if family == 4 else "fd0f::3"),
    )


FULL = Steering(
    tun="culvert0",
    links=frozenset({"lan", "wan"}),
    addresses=(
        Address(link="wan", interface=ip_interface("2.2.2.2/24"), label="/Common/self-wan"),
        Address(
            link="lan",
            interface=ip_interface("10.1.0.1/16"),
            label="/Common/self-lan",
            services=(Service(protocol=6, port=22), Service(protocol=89, port=0)),
        ),
        Address(link="lan", interface=ip_interface("fd01::1/64"), label="/Common/self-six", services=None),
    ),
    policies=(
        policy(OUT, "10.1.0.0/16", "10.2.0.0/16"),
        policy(IN, "10.2.0.0/16", "10.1.0.0/16"),
        policy(OUT, "2.2.2.2", "3.3.3.3", 2),
        policy(OUT, "10.1.0.0/16", "10.3.0.0/16", 3, protocol=6, destination_ports=PortRange(80, 90)),
        policy(OUT, "10.1.0.0/16", "10.3.0.0/16", 4, protocol=6, destination_ports=PortRange(85, 95)),
        policy(OUT, "fd01::/64", "::/0", 5),
        policy(IN, "::/0", "::/0", 6),
    ),
    forwarders=(
        Forwarder(label="/Common/any", source=ip_network("0.0.0.0/0"), destination=ip_network("0.0.0.0/0")),
        Forwarder(
            label="/Common/web",
            source=ip_network("fd01::/64"),
            destination=ip_network("fd02::/64"),
            protocol=6,
            ports=PortRange(80, 80),
            links=("lan",),
        ),
        Forwarder(
            label="/Common/dns",
            source=ip_network("10.1.0.0/16"),
            destination=ip_network("0.0.0.0/0"),
            ports=PortRange(53, 53),
            excluded_links=("wan",),
        ),
    ),
)
COUNTS = {"leak-stopped": (4, 400), "gone": (1, 1)}


def test_text_is_as_agreed() -> None:
    assert render(FULL, COUNTS) == GOLDEN.read_text()


@pytest.mark.network
def test_kernel_takes_it_and_counts_on(namespace: Namespace) -> None:
    namespace.inside(lambda: nftables.load(render(FULL, COUNTS)))
    counts = namespace.inside(nftables.counters)
    assert counts is not None
    assert counts["leak-stopped"] == (4, 400)
    assert len(counts) == len(REASONS) + len(FULL.forwarders)
    namespace.inside(nftables.reset_counters)
    assert namespace.inside(nftables.counters)["leak-stopped"] == (0, 0)  # type: ignore[index]
    namespace.inside(nftables.delete)
    assert namespace.inside(nftables.counters) is None
    assert namespace.run("nft", "list", "ruleset") == ""
    namespace.inside(nftables.delete)


def test_ports_of_esp_in_udp_are_open() -> None:
    text = render(replace(FULL, udp_ports=frozenset({4500, 5000})), {})
    assert text.count("udp dport { 500, 4500, 5000 } accept") == 2
    assert "icmp type 3 icmp code 4 @th,136,8 17 @th,224,16 { 4500, 5000 } accept" in text
    # What another program sends to such a port is no IPsec of ours, which has a mark.
    assert "udp dport { 500, 4500 } accept" in text


@pytest.mark.network
def test_kernel_takes_ports_of_esp_in_udp(namespace: Namespace) -> None:
    namespace.inside(lambda: nftables.load(render(replace(FULL, udp_ports=frozenset({4500, 5000})), {})))


@pytest.mark.network
def test_kernel_takes_the_empty_one(namespace: Namespace) -> None:
    namespace.inside(lambda: nftables.load(render(Steering(tun="culvert0"), {})))
    assert "hook forward" in namespace.run("nft", "list", "ruleset")


NOWHERE = Forwarder(
    label="/Common/nowhere", source=ip_network("0.0.0.0/0"), destination=ip_network("0.0.0.0/0"), links=()
)


def test_forwarder_on_no_link_allows_nothing_and_keeps_its_counter() -> None:
    counter = forwarder_counter(NOWHERE.label)
    text = render(Steering(tun="culvert0", forwarders=(NOWHERE,)), {counter: (3, 300)})
    assert f"counter {counter} {{\npackets 3 bytes 300\n}}" in text
    assert f"counter name {counter}" not in text
    assert 'iifname ""' not in text


@pytest.mark.network
def test_kernel_takes_a_forwarder_on_no_link(namespace: Namespace) -> None:
    namespace.inside(lambda: nftables.load(render(Steering(tun="culvert0", forwarders=(NOWHERE,)), {})))
    assert forwarder_counter(NOWHERE.label) in namespace.inside(nftables.counters)  # type: ignore[operator]


@pytest.mark.network
def test_ten_thousand_selectors_load_fast(namespace: Namespace) -> None:
    policies = [
        policy(
            direction, f"10.{number >> 8}.{number & 255}.0/24", f"20.{number >> 8}.{number & 255}.0/{24 + number % 3}"
        )
        for number in range(5000)
        for direction in (OUT, IN)
    ]
    text = render(Steering(tun="culvert0", policies=tuple(policies)), {})
    begun = time.monotonic()
    namespace.inside(lambda: nftables.load(text))
    assert time.monotonic() - begun < 2


@pytest.mark.network
def test_refusal_is_a_sentence_and_changes_nothing(namespace: Namespace) -> None:
    namespace.inside(lambda: nftables.load(render(FULL, COUNTS)))
    before = namespace.run("nft", "list", "ruleset")

    def refused() -> str:
        with pytest.raises(nftables.NftError) as caught:
            nftables.load(render(FULL, COUNTS) + "table inet x { nonsense }\n")
        return str(caught.value)

    assert namespace.inside(refused).startswith("nft refused: ")
    assert namespace.run("nft", "list", "ruleset") == before


def test_missing_nft_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nftables, "SEARCH_PATH", "/nowhere")
    with pytest.raises(nftables.NftError, match="install the nftables package"):
        nftables.load("")
