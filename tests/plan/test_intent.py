"""From configuration to what should run, and from one intent to the next."""

from ipaddress import ip_address, ip_network

import pytest
from sealing import READER, SITE_A, configured

from culvert.change import AddForwarder, AddPolicy, AddRoute, AddSa, Change, RemoveSa
from culvert.config.snapshot import Snapshot
from culvert.config.transaction import Transaction
from culvert.dataplane.plane import PlaneError
from culvert.ipsec.sa import Direction
from culvert.model.problems import Invalid
from culvert.model.registry import KINDS
from culvert.plan import intent as plan
from culvert.plan import keys
from culvert.plan.intent import Intent
from culvert.plan.steps import steps


def intend(snapshot: Snapshot) -> Intent:
    return plan.intend(snapshot, counter_journal=True)


def test_the_two_site_procedure_gives_what_it_says() -> None:
    intent = intend(configured(SITE_A))
    assert [(sa.label, sa.direction, sa.spi) for sa in intent.sas] == [
        ("/Common/sa-in", Direction.IN, 1002),
        ("/Common/sa-out", Direction.OUT, 1001),
    ]
    assert intent.sas[1].cipher_key.reveal() == bytes.fromhex("00112233445566778899aabbccddeeff")
    assert intent.sas[1].auth_key.reveal() == b"a" * 20
    by_label = {policy.label: policy for policy in intent.policies}
    assert by_label["/Common/ts-out"].reqid == intent.sas[1].reqid
    assert by_label["/Common/ts-in"].reqid == intent.sas[0].reqid
    assert by_label["/Common/ts-out"].tunnel_destination == ip_address("3.3.3.3")
    assert [forwarder.destination for forwarder in intent.forwarders] == [ip_network("0.0.0.0/0")]
    assert {address.link for address in intent.addresses} == {"wan0", "lan0"}
    # 1500 - 20 outer - 8 ESP - 16 IV - 12 ICV leaves 1444; whole AES blocks less the 2 trailer octets: 1438.
    assert intent.tunnel_mtu == 1438
    assert intent.notes == ()


def test_a_manual_sa_without_selector_takes_its_direction_from_the_self_ips() -> None:
    work = Transaction(configured(SITE_A), READER)
    for name in ("ts-out", "ts-in"):
        work.delete(KINDS["net", "ipsec", "traffic-selector"], name)
    assert {(sa.label, sa.direction) for sa in intend(work.check()).sas} == {
        ("/Common/sa-in", Direction.IN),
        ("/Common/sa-out", Direction.OUT),
    }
    work.delete(KINDS["net", "self"], "outside")
    intent = intend(work.check())
    assert intent.sas == ()
    assert all("has no direction yet" in note for note in intent.notes)


def test_route_domains_are_refused_by_name() -> None:
    with pytest.raises(Invalid, match="route domain 1 is not available"):
        intend(configured("net vlan v { }\nnet self s { address 10.0.0.1%1/24 vlan v }"))


def test_a_selector_for_both_directions_is_mirrored() -> None:
    text = (
        "net ipsec ipsec-policy p { mode tunnel tunnel-local-address 2.2.2.2 tunnel-remote-address 3.3.3.3 }\n"
        "net ipsec traffic-selector t { source-address 10.1.0.0/24 source-port 80 ip-protocol tcp "
        "destination-address 10.2.0.0/24 ipsec-policy p }"
    )
    out, back = intend(configured(text)).policies
    assert (out.direction, back.direction) == (Direction.OUT, Direction.IN)
    assert (back.selector.source, back.selector.destination) == (out.selector.destination, out.selector.source)
    assert back.selector.destination_ports == out.selector.source_ports


def test_disabled_virtual_servers_forward_nothing() -> None:
    assert intend(configured("ltm virtual v { destination 0.0.0.0:any ip-forward disabled }")).forwarders == ()


def test_steps_protect_before_they_forward() -> None:
    changes = steps(Intent(), intend(configured(SITE_A)))
    order = [type(change) for change in changes]
    assert order.index(AddSa) < order.index(AddPolicy) < order.index(AddRoute) < order.index(AddForwarder)
    assert steps(intend(configured(SITE_A)), intend(configured(SITE_A))) == []


def test_a_new_key_touches_only_its_sa() -> None:
    work = Transaction(configured(SITE_A), READER)
    work.modify(KINDS["net", "ipsec", "manual-security-association"], "sa-out", {"auth-key": "z" * 20})
    changes = steps(intend(configured(SITE_A)), intend(work.check()))
    assert [type(change) for change in changes] == [RemoveSa, AddSa]


def test_every_change_knows_its_inverse() -> None:
    def undone(change: Change) -> Change:
        return change.inverse().inverse()

    for change in steps(Intent(), intend(configured(SITE_A))):
        assert undone(change) == change
    assert PlaneError(None, "x").sentence == "x"


def test_key_text() -> None:
    text = KINDS["net", "ipsec", "manual-security-association"].field("auth-key")
    assert text is not None
    for given, length in (("0x" + "0aFf" * 10, 20), ("abcdefghijklmnopqrst", 20), ("0x34567890123456", 16)):
        value = text.type.parse(given, READER)
        assert len(keys.octets(value, length)) == length
    assert keys.octets(None, 0).reveal() == b""
