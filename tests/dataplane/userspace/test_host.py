"""What the plane changes on the host, and that it puts back exactly that."""

import gc
import json
import re
import subprocess
import time
import tracemalloc

import pytest

from culvert.dataplane.userspace.kernel import Kernel
from tests.dataplane.topology import Gateway, wait_until

pytestmark = pytest.mark.network

NAMES = "{forwarding,force_forwarding,rp_filter,accept_ra,src_valid_mark}"
SETTINGS = (
    f"grep -sH . /proc/sys/net/ipv[46]/conf/{{all,default,wan,lan,lo,other}}/{NAMES} "
    "/proc/sys/net/ipv[46]/fwmark_reflect /proc/sys/net/ipv4/ip_forward"
)

WATCH = "__import__('culvert.dataplane.userspace.watch', fromlist=['x'])"
LOST_RULE = "__import__('os').system('ip rule del priority 17238 fwmark 0x43550001 table 17238')"


def picture(gateway: Gateway) -> dict[str, object]:
    """All that a plane could have left behind."""

    def ip(*words: str) -> object:
        return json.loads(gateway.run("ip", "-j", *words) or "[]")

    links = [
        {key: link.get(key) for key in ("ifname", "flags", "mtu", "addr_info")}
        for link in ip("addr")  # type: ignore[attr-defined]
    ]
    for link in links:
        link["addr_info"] = [info for info in link["addr_info"] if info["scope"] != "link"]
        link["flags"] = sorted(flag for flag in link["flags"] if flag != "LOWER_UP")
    return {
        "links": links,
        "routes": [
            route
            for family in ("-4", "-6")
            for route in ip(family, "route", "show", "table", "all")  # type: ignore[attr-defined]
            if not route["dst"].startswith(("fe80", "ff00", "multicast"))
        ],
        "rules": [ip("-4", "rule"), ip("-6", "rule")],
        # Sets that came again stand in another place.
        "nftables": sorted(gateway.run("nft", "list", "ruleset").splitlines()),
        "settings": gateway.run("bash", "-c", SETTINGS, check=False),
    }


def test_asking_for_links_keeps_nothing() -> None:
    """It is done again and again for as long as the daemon lives."""
    kernel = Kernel()
    try:
        facts = kernel.link("lo")
        assert facts is not None
        assert facts.index == 1
        assert kernel.link("there-is-none") is None
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(300):
            kernel.link("lo")
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 10_000
    finally:
        tracemalloc.stop()
        kernel.close()


def test_close_leaves_the_host_as_it_was(gateway: Gateway) -> None:
    gateway.run("ip", "link", "set", "lan", "up", "mtu", "1450")
    gateway.run("nft", "add", "table", "inet", "theirs")
    gateway.run("bash", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/rp_filter")
    before = picture(gateway)
    gateway.start()
    gateway.apply("[*site('a'), AddRoute(Route(destination=ip_network('9.9.9.0/24'), label='/Common/hole'))]")
    during = picture(gateway)
    assert all(during[part] != before[part] for part in before)
    gateway.do("plane.tick(0)")
    gateway.stop()
    assert picture(gateway) == before


def test_taking_back_every_change_leaves_the_host_as_it_was(gateway: Gateway) -> None:
    gateway.start()
    gateway.apply("[]")
    before = picture(gateway)
    gateway.apply("site('a')[:-1]")
    gateway.apply("[change.inverse() for change in reversed(site('a')[:-1])]")
    after = picture(gateway)
    assert after == before


def test_what_was_there_is_adopted_and_stays(gateway: Gateway) -> None:
    for command in (
        "ip link set wan up",
        "ip addr add 2.2.2.2/32 dev wan",
        "ip route add 3.3.3.3/32 dev wan proto static",
        "sysctl -qw net.ipv4.conf.wan.forwarding=1",
    ):
        gateway.run(*command.split())
    before = picture(gateway)
    gateway.start()
    gateway.apply("site('a')")
    gateway.apply("[c.inverse() for c in reversed(site('a')) if isinstance(c, (AddRoute, AddAddress))]")
    gateway.stop()
    assert picture(gateway) == before


def test_failed_batch_leaves_everything_as_it_was(gateway: Gateway) -> None:
    gateway.start()
    gateway.apply("site('a')")
    before = picture(gateway)
    more = (
        "*associations('a', outer=6), *selectors('a', inner=6, outer=6), SetTunnelMtu(1400, 1300), "
        "AddLink(Link(name='lo', label='/Common/lo'))"
    )
    with pytest.raises(AssertionError, match="there is no link missing0 on this host"):
        gateway.apply(f"[{more}, AddLink(Link(name='missing0', label='/Common/missing'))]")
    assert picture(gateway) == before
    assert len(gateway.do("plane.usage()")) == 2
    with pytest.raises(AssertionError, match="/Common/ts-out-1 is there already"):
        gateway.apply("selectors('a')")


def test_packet_process_refuses_a_batch(gateway: Gateway) -> None:
    gateway.start()
    gateway.apply("ground('a')")
    before = picture(gateway)
    process = gateway.process_id
    with pytest.raises(AssertionError, match="PlaneError"):
        gateway.apply("[*associations('a', spi=7), forwarder('10.0.0.0/8', '/Common/more')]")
    assert picture(gateway) == before
    assert gateway.process_id == process
    gateway.apply("[*associations('a'), *selectors('a')]")


def test_first_batch_may_be_refused_and_given_again(gateway: Gateway) -> None:
    before = picture(gateway)
    gateway.start()
    with pytest.raises(AssertionError, match="there is no link"):
        gateway.apply("[*site('a'), AddLink(Link(name='missing0', label='/Common/missing'))]")
    gateway.apply("site('a')")
    gateway.stop()
    assert picture(gateway) == before


def test_successor_of_a_killed_parent_takes_everything_back(gateway: Gateway) -> None:
    before = picture(gateway)
    gateway.start()
    gateway.apply("site('a')")
    gateway.kill()
    gateway.start()
    # Half of what the predecessor did isn't wanted any more.
    gateway.apply("[c for c in site('a') if not isinstance(c, AddRoute)]")
    routes = gateway.run("ip", "route")
    assert "3.3.3.3" not in routes
    gateway.stop()
    assert picture(gateway) == before


def test_changed_services_leave_the_address_on_its_link(gateway: Gateway) -> None:
    gateway.start()
    gateway.apply("site('a')")
    monitor = gateway.popen("ip", "-4", "monitor", "address", "route", stdout=subprocess.PIPE)
    try:
        time.sleep(0.2)
        gateway.apply("[c for old in addresses('a') for c in opened(old)]")
        time.sleep(0.1)
    finally:
        monitor.kill()
        heard, _ = monitor.communicate()
    assert heard == ""
    (elements,) = re.findall(r"set open4-.*?elements = {(.*?)}", gateway.run("nft", "list", "ruleset"), re.DOTALL)
    assert "2.2.2.2" in elements


def test_changed_link_keeps_addresses_and_routes(gateway: Gateway) -> None:
    gateway.start()
    gateway.apply("site('a')")
    before = gateway.run("ip", "route"), gateway.run("ip", "-6", "route")
    gateway.apply("[c for old, new in zip(links(1500), links(1480)) for c in (old.inverse(), new)]")
    assert "mtu 1480" in gateway.run("ip", "link", "show", "wan")
    gateway.apply("[c for old, new in zip(links(1480), links(1500)) for c in (old.inverse(), new)]")
    assert (gateway.run("ip", "route"), gateway.run("ip", "-6", "route")) == before


def test_link_that_vanishes_and_returns(gateway: Gateway) -> None:
    gateway.start()
    gateway.apply("site('a')")
    before = gateway.run("ip", "route")
    gateway.run("ip", "link", "del", "wan")
    assert gateway.do("[(s.name, s.state) for s in plane.links()]")[0] == ["wan", "missing"]
    gateway.run("ip", "link", "add", "wan", "type", "veth", "peer", "name", "wan-far")
    gateway.run("ip", "link", "set", "wan-far", "up")
    wait_until(lambda: sorted(gateway.run("ip", "route").split("\n")) == sorted(before.split("\n")))
    assert "/Common/wan: link wan is back" in gateway.do("plane.tick(0)")
    gateway.run("ip", "link", "del", "wan")
    gateway.apply("[c.inverse() for c in reversed(site('a')) if not isinstance(c, SetTunnelMtu)]")


def test_links_that_no_vlan_uses_are_told_behind_the_others(gateway: Gateway) -> None:
    gateway.start()
    gateway.apply("[AddLink(Link(name='wan', label='/Common/wan'))]")
    gateway.run("ip", "link", "add", "spare", "type", "veth", "peer", "name", "spare-far")
    gateway.run("ip", "tuntap", "add", "dev", "noframes", "mode", "tun")
    found = gateway.do("[(s.name, s.state, bool(s.mac)) for s in plane.links()]")
    assert found[0] == ["wan", "up", True]
    assert ["spare", "disabled", True] in found
    assert not {"lo", "noframes", "culvert0"} & {name for name, _, _ in found}


def test_disabled_link_is_held_down_and_its_routes_wait(gateway: Gateway) -> None:
    gateway.start()
    gateway.apply(
        "[AddLink(Link(name='wan', label='/Common/wan', enabled=False)), *addresses('a')[:1], *routes('a')[:1]]"
    )
    assert gateway.do("plane.links()[0].state") == "disabled"
    assert gateway.do("plane.tick(0)") == ["/Common/peer waits for its link to come up"]
    enabled = "AddLink(Link(name='wan', label='/Common/wan'))"
    gateway.apply(f"[RemoveLink(Link(name='wan', label='/Common/wan', enabled=False)), {enabled}]")
    assert "3.3.3.3 dev wan" in gateway.run("ip", "route")


def test_other_route_in_the_way_is_told(gateway: Gateway) -> None:
    gateway.run("ip", "link", "set", "lan", "up")
    gateway.run("ip", "route", "add", "3.3.3.3/32", "dev", "lan")
    gateway.start()
    with pytest.raises(AssertionError, match=r"the host has another route to 3\.3\.3\.3/32 already"):
        gateway.apply("site('a')")


def test_tagged_link_on_a_kernel_without_8021q(gateway: Gateway) -> None:
    """Where the kernel can, the link is made; where it can't, the error says so."""
    gateway.start()
    tagged = "[AddLink(Link(name='wan.5', parent='wan', tag=5, label='/Common/five'))]"
    if gateway.do("plane.features.vlan_tagging"):
        gateway.apply(tagged)
        assert "wan.5@wan" in gateway.run("ip", "link")
        gateway.stop()
        assert "wan.5@wan" not in gateway.run("ip", "link")
        return
    with pytest.raises(AssertionError, match=r"kernel can't make 802\.1Q links"):
        gateway.apply(tagged)


def test_ipv6_forwarding_without_force_forwarding(gateway: Gateway) -> None:
    """Kernels before 6.17: one switch for all links, and the others keep their own setting."""
    gateway.run("ip", "link", "add", "other", "type", "dummy") if _has_dummy(gateway) else None
    before = picture(gateway)
    gateway.start()
    gateway.do(
        "__import__('culvert.dataplane.userspace.host', fromlist=['x']).__setattr__('FORCE_FORWARDING', 'ipv6/none')"
    )
    gateway.apply("site('a')")
    values = gateway.run("bash", "-c", "cat /proc/sys/net/ipv6/conf/{all,lo,default,wan}/forwarding").split()
    assert values == ["1", "0", "0", "1"]
    gateway.stop()
    assert picture(gateway) == before


@pytest.mark.parametrize(
    ("setting", "theirs", "ours"),
    [
        ("ipv4.conf.wan.forwarding", 0, 1),
        ("ipv4.conf.wan.rp_filter", 1, 2),
        ("ipv6.conf.wan.forwarding", 0, 1),
        ("ipv6.conf.wan.force_forwarding", 0, 1),
    ],
)
def test_a_setting_of_a_link_comes_back_without_a_tick(gateway: Gateway, setting: str, theirs: int, ours: int) -> None:
    if not gateway.run("sysctl", "-qen", f"net.{setting}", check=False):
        assert setting.endswith("force_forwarding"), "kernels before 6.17 don't have that"
        return
    gateway.start()
    gateway.apply("site('a')")
    gateway.run("sysctl", "-qw", f"net.{setting}={theirs}")
    wait_until(lambda: int(gateway.run("sysctl", "-n", f"net.{setting}")) == ours)


@pytest.mark.parametrize("version", [4, 6])
def test_marks_are_reflected_again_after_the_next_tick(gateway: Gateway, version: int) -> None:
    """Nothing is heard of that one."""
    gateway.start()
    gateway.apply("site('a')")
    _until_nothing_is_to_be_seen(gateway)
    gateway.run("sysctl", "-qw", f"net.ipv{version}.fwmark_reflect=0")
    gateway.do("plane.tick(0)")
    assert gateway.run("sysctl", "-n", f"net.ipv{version}.fwmark_reflect").strip() == "1"


def test_a_tick_looks_at_the_host_only_if_there_may_be_something_to_see(gateway: Gateway) -> None:
    gateway.start()
    gateway.apply("site('a')")
    _until_nothing_is_to_be_seen(gateway)

    def seconds(work: str) -> float:
        spent = gateway.do(f"[time.thread_time(), [{work} for _ in range(20)], time.thread_time()]")
        return float(spent[2] - spent[0])

    assert seconds("plane.tick(0)") < seconds("plane._repair_host()") / 3


def test_what_was_heard_beside_a_batch_is_seen_by_the_next_tick(gateway: Gateway) -> None:
    gateway.start()
    gateway.apply("site('a')")
    _until_nothing_is_to_be_seen(gateway)
    gateway.do(f"[plane._lock.acquire(), {LOST_RULE}, plane._watch.hear(), plane._lock.release()]")
    time.sleep(0.1)
    assert "fwmark 0x43550001 lookup 17238" not in gateway.run("ip", "rule")
    assert any("routing rules" in sentence for sentence in gateway.do("plane.tick(0)"))
    assert "fwmark 0x43550001 lookup 17238" in gateway.run("ip", "rule")


def test_what_nobody_hears_of_is_put_right_after_a_while(gateway: Gateway) -> None:
    gateway.start()
    gateway.do(f"{WATCH}.__setattr__('LOOK_SECONDS', 0.5)")
    gateway.apply("site('a')")
    _until_nothing_is_to_be_seen(gateway)
    gateway.do("[plane._watch._routes.setsockopt(270, 2, group) for group in range(1, 33)]")  # NETLINK_DROP_MEMBERSHIP
    gateway.do(LOST_RULE)
    wait_until(lambda: gateway.do("plane.tick(0)"))
    assert "fwmark 0x43550001 lookup 17238" in gateway.run("ip", "rule")


def _until_nothing_is_to_be_seen(gateway: Gateway) -> None:
    wait_until(lambda: gateway.do("[plane.tick(0), time.sleep(0.1), plane._watch.must_look][2]") is False)


def _has_dummy(gateway: Gateway) -> bool:
    return "other" in gateway.run(
        "sh", "-c", "ip link add other type dummy && echo other && ip link del other", check=False
    )


def test_busy_state_directory_is_told(gateway: Gateway) -> None:
    gateway.start()
    gateway.apply("[]")
    second = "__import__('culvert.dataplane.userspace.counters', fromlist=['x'])"
    gateway.do(f"{second}.__setattr__('LOCK_WAIT_SECONDS', 0.1)")
    with pytest.raises(AssertionError, match="is in use by another process"):
        gateway.do(f"{second}.CountersFile(__import__('pathlib').Path({str(gateway.state / 'counters')!r}))")
