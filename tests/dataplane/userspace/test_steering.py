"""The nftables text: as it was agreed on, and as the kernel takes it."""

import re
import time
from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from culvert.change import Address, Forwarder, Service
from culvert.dataplane.userspace import nftables
from culvert.dataplane.userspace.nftables import Ruleset, Table
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


def text_of(ruleset: Ruleset) -> str:
    lines = [*ruleset.counter_lines(ruleset.counters, COUNTS), *ruleset.set_lines(ruleset.sets), *ruleset.chain_lines()]
    return "\n".join([*lines, ""])


def load(steering: Steering, table: Table | None = None) -> None:
    (table or Table(lambda _: None)).replace(render(steering), COUNTS)


def test_text_is_as_agreed() -> None:
    assert text_of(render(FULL)) == GOLDEN.read_text()


def test_no_verdict_is_in_a_map() -> None:
    # Its elements go before packets do that are in front of it: they would miss the verdict while rules are replaced.
    assert "vmap" not in text_of(render(FULL))


@pytest.mark.network
def test_kernel_takes_it_and_counts_on(namespace: Namespace) -> None:
    namespace.inside(lambda: load(FULL))
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
    text = text_of(render(replace(FULL, udp_ports=frozenset({4500, 5000}))))
    assert text.count("udp dport { 500, 4500, 5000 } accept") == 1
    assert text.count("meta l4proto 17 jump arriving_udp") == text.count("meta l4proto 17 goto arriving_udp") == 1
    assert "icmp type 3 icmp code 4 @th,136,8 17 @th,224,16 { 4500, 5000 } accept" in text
    # What another program sends to such a port is no IPsec of ours, which has a mark.
    assert "udp dport { 500, 4500 } goto own_ipsec" in text


@pytest.mark.network
def test_kernel_takes_ports_of_esp_in_udp(namespace: Namespace) -> None:
    namespace.inside(lambda: load(replace(FULL, udp_ports=frozenset({4500, 5000}))))


@pytest.mark.network
def test_kernel_takes_the_empty_one(namespace: Namespace) -> None:
    namespace.inside(lambda: load(Steering(tun="culvert0")))
    assert "hook forward" in namespace.run("nft", "list", "ruleset")


NOWHERE = Forwarder(
    label="/Common/nowhere", source=ip_network("0.0.0.0/0"), destination=ip_network("0.0.0.0/0"), links=()
)


def test_forwarder_on_no_link_allows_nothing_and_keeps_its_counter() -> None:
    counter = forwarder_counter(NOWHERE.label)
    text = text_of(render(Steering(tun="culvert0", forwarders=(NOWHERE,))))
    assert f"counter {counter} {{\npackets 0 bytes 0\n}}" in text
    assert f"counter name {counter}" not in text
    assert 'iifname ""' not in text


@pytest.mark.network
def test_kernel_takes_a_forwarder_on_no_link(namespace: Namespace) -> None:
    namespace.inside(lambda: load(Steering(tun="culvert0", forwarders=(NOWHERE,))))
    assert forwarder_counter(NOWHERE.label) in namespace.inside(nftables.counters)  # type: ignore[operator]


@pytest.mark.alone
@pytest.mark.network
def test_ten_thousand_selectors_load_fast(namespace: Namespace) -> None:
    policies = [
        policy(
            direction, f"10.{number >> 8}.{number & 255}.0/24", f"20.{number >> 8}.{number & 255}.0/{24 + number % 3}"
        )
        for number in range(5000)
        for direction in (OUT, IN)
    ]
    steering, table = Steering(tun="culvert0", policies=tuple(policies)), Table(lambda _: None)
    begun = time.monotonic()
    namespace.inside(lambda: load(steering, table))
    assert time.monotonic() - begun < 2
    begun = time.monotonic()
    namespace.inside(lambda: load(replace(steering, forwarders=(NOWHERE,)), table))
    assert time.monotonic() - begun < 1, "what stays the same isn't loaded again"


@pytest.mark.network
def test_refusal_is_a_sentence_and_changes_nothing(namespace: Namespace) -> None:
    namespace.inside(lambda: load(FULL))
    before = namespace.run("nft", "list", "ruleset")

    def refused() -> str:
        with pytest.raises(nftables.NftError) as caught:
            load(replace(FULL, tun='"', policies=FULL.policies[:1]))
        return str(caught.value)

    assert namespace.inside(refused).startswith("nft refused: ")
    assert namespace.run("nft", "list", "ruleset") == before


def test_missing_nft_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nftables, "SEARCH_PATH", "/nowhere")
    with pytest.raises(nftables.NftError, match="install the nftables package"):
        nftables.load("")


@pytest.mark.network
def test_sets_come_before_the_rules_and_go_after_them(namespace: Namespace) -> None:
    """One transaction for both has a moment in which no packet finds what is in a set: see `nftables`."""
    loads: list[int] = []
    table = Table(loads.append)
    namespace.inside(lambda: load(FULL, table))
    assert len(loads) == 2
    namespace.inside(lambda: load(replace(FULL, forwarders=FULL.forwarders[:1]), table))
    assert len(loads) == 4, "the rules, then the counters that nobody counts by any more"
    namespace.inside(lambda: load(replace(FULL, policies=FULL.policies[:2]), table))
    assert len(loads) == 7
    namespace.inside(lambda: load(replace(FULL, policies=FULL.policies[:2]), table))
    assert len(loads) == 8


@pytest.mark.network
def test_what_another_program_did_is_undone(namespace: Namespace) -> None:
    table = Table(lambda _: None)
    namespace.inside(lambda: load(FULL, table))
    before = namespace.run("nft", "-s", "list", "ruleset")
    (own4,) = re.findall(r"set (own4-\w+)", before)
    namespace.run("nft", "flush", "set", "inet", "culvert", own4)
    namespace.run("nft", "add chain inet culvert extra { type filter hook input priority 0; }")
    namespace.run("nft", "delete", "chain", "inet", "culvert", "postrouting")
    table.distrust()
    namespace.inside(lambda: load(FULL, table))
    assert _nameless(namespace.run("nft", "-s", "list", "ruleset")) == _nameless(before)


def _nameless(listing: str) -> list[str]:
    """Chains that were deleted come back in another place."""
    return sorted(re.sub(r"([a-z]+[0-9]+)-[0-9a-f]{12}", r"\1", listing).splitlines())
