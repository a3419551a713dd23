"""Manual security associations and policies, and the SAs that they mean."""

from ipaddress import ip_address

from sealing import READER, SITE_A, configured

from culvert.config.transaction import Transaction
from culvert.ipsec.lifetime import Lifetime, Limits
from culvert.ipsec.sa import Copy, Direction, Fragmentation, HeaderRules, Mode, Protocol, UdpPorts
from culvert.ipsec.selector import ICMP_BASE, PortRange
from culvert.model.kind import Kind
from culvert.model.registry import KINDS
from culvert.plan.associations import UNCUT
from culvert.plan.intent import Intent, intend

POLICY = KINDS["net", "ipsec", "ipsec-policy"]
SA = KINDS["net", "ipsec", "manual-security-association"]
SELECTOR = KINDS["net", "ipsec", "traffic-selector"]


def planned(*changes: tuple[Kind, str, dict[str, str]]) -> Intent:
    work = Transaction(configured(SITE_A), READER)
    for kind, name, properties in changes:
        if work.current.get(kind.path, f"/Common/{name}") is None:
            work.create(kind, name, properties)
        else:
            work.modify(kind, name, properties)
    return intend(work.check(), counter_journal=True)


def test_by_default_an_sa_is_what_the_vendor_has() -> None:
    for sa in planned().sas:
        assert (sa.header, sa.fragmentation, sa.encapsulation) == (HeaderRules(), Fragmentation.BEFORE, None)
        assert (sa.esn, sa.compression, sa.mss, sa.tfc_octets, sa.lifetime) == (False, 0, None, 0, Lifetime())
        assert (sa.dummy_seconds, sa.keep_alive_seconds, sa.replay_window, sa.path_mtu) == (0, 0, 64, 1500)


def test_a_policy_says_how_packets_are_wrapped() -> None:
    properties = {"df-bit": "clear", "dscp": "ef", "ecn": "clear", "hop-limit": "copy", "flow-label": "copy"}
    properties |= {"tcp-mss": "automatic", "tfc-padding": "300", "dummy-interval": "9", "ipcomp": "deflate"}
    properties |= {"udp-encapsulation": "enabled", "udp-port": "4501", "nat-keep-alive": "15", "fragmentation": "after"}
    (out,) = [sa for sa in planned((POLICY, "pol-out", properties)).sas if sa.direction is Direction.OUT]
    assert out.header == HeaderRules(dscp=46, ecn=False, dont_fragment=Copy.CLEAR, hops=None, flow_label=True)
    assert (out.mss, out.tfc_octets, out.dummy_seconds, out.compression) == (0, 300, 9, 2)
    assert (out.encapsulation, out.keep_alive_seconds) == (UdpPorts(4501, 4501), 15)
    assert out.fragmentation is Fragmentation.AFTER


def test_an_sa_says_how_long_it_lives() -> None:
    properties = {
        "lifetime-seconds": "100",
        "soft-lifetime-packets": "5",
        "lifetime-bytes": "9",
        "lifetime-packets": "7",
    }
    properties |= {"extended-sequence-numbers": "enabled", "replay-window-size": "1024"}
    (out,) = [sa for sa in planned((SA, "sa-out", properties)).sas if sa.direction is Direction.OUT]
    assert out.lifetime == Lifetime(Limits(packets=5), Limits(seconds=100, octets=9, packets=7))
    assert (out.esn, out.replay_window) == (True, 1024)


def test_ah_around_esp_is_an_sa_in_transport_mode() -> None:
    ends = {"source-address": "2.2.2.2", "destination-address": "3.3.3.3", "ipsec-policy": "pol-out"}
    given = {**ends, "spi": "2001", "protocol": "ah", "auth-key": "0x" + bytes(range(20)).hex()}
    intent = planned((POLICY, "pol-out", {"bundle-ah": "enabled", "ipcomp": "deflate"}), (SA, "sa-ah", given))
    ah, esp = (next(sa for sa in intent.sas if sa.label == f"/Common/{name}") for name in ("sa-ah", "sa-out"))
    assert (ah.protocol, ah.mode, ah.cipher, len(ah.cipher_key)) == (Protocol.AH, Mode.TRANSPORT, "null", 0)
    assert (esp.protocol, esp.mode, esp.reqid) == (Protocol.ESP, Mode.TUNNEL, ah.reqid)
    # What is compressed is compressed once, inside.
    assert (ah.compression, esp.compression) == (0, 2)
    assert [policy.bundle_ah for policy in intent.policies if policy.direction is Direction.OUT] == [True]
    # 1500 - 20 outer - 24 AH - 8 ESP - 16 IV - 12 ICV leaves 1420; whole AES blocks less the 2 trailer octets: 1406.
    assert intent.tunnel_mtu == 1406


def test_an_ah_sa_encrypts_nothing_even_if_the_vendor_says_with_what() -> None:
    work = Transaction(configured(SITE_A), READER)
    work.modify(POLICY, "pol-out", {"protocol": "ah"})
    work.modify(SA, "sa-out", {"protocol": "ah"})
    (out,) = [sa for sa in intend(work.check(), counter_journal=False).sas if sa.direction is Direction.OUT]
    assert (out.protocol, out.mode, out.cipher, out.cipher_key.reveal()) == (Protocol.AH, Mode.TUNNEL, "null", b"")


def test_transport_mode() -> None:
    intent = planned((POLICY, "pol-out", {"mode": "transport"}))
    (out,) = [sa for sa in intent.sas if sa.direction is Direction.OUT]
    assert out.mode is Mode.TRANSPORT
    assert out.destination == ip_address("3.3.3.3")
    # A whole packet of 20 + 1438 octets: its header stays outside.
    assert intent.tunnel_mtu == 1458


def test_the_packet_process_cuts_where_the_host_must_not() -> None:
    assert planned((POLICY, "pol-out", {"fragmentation": "after"})).tunnel_mtu == UNCUT
    assert planned((POLICY, "pol-out", {"df-bit": "clear"})).tunnel_mtu == UNCUT
    assert planned((POLICY, "pol-in", {"df-bit": "clear"})).tunnel_mtu == 1438


def test_the_link_of_the_tunnels_end_says_what_passes() -> None:
    intent = planned((KINDS["net", "vlan"], "external", {"mtu": "1400"}))
    assert [sa.path_mtu for sa in intent.sas] == [1400, 1400]


def test_ranges_and_icmp_types_in_selectors() -> None:
    tcp = {"ip-protocol": "tcp", "destination-port": "8000-8999"}
    (found,) = [p for p in planned((SELECTOR, "ts-out", tcp)).policies if p.direction is Direction.OUT]
    assert (found.selector.source_ports, found.selector.destination_ports) == (None, PortRange(8000, 8999))
    icmp = {"ip-protocol": "icmp", "icmp-type": "8", "icmp-code": "0-1"}
    (found,) = [p for p in planned((SELECTOR, "ts-out", icmp)).policies if p.direction is Direction.OUT]
    assert found.selector.source_ports == PortRange(ICMP_BASE + 8, ICMP_BASE + 8)
    assert found.selector.destination_ports == PortRange(ICMP_BASE, ICMP_BASE + 1)
