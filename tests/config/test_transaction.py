"""Changes of configuration: what is accepted, what is refused and in which words, and that nothing is half-applied."""

import time

import pytest
from sealing import AUTH_KEY, CIPHER_KEY, READER, SITE_A, TWO_POLICIES, configured

from culvert.config import transaction as tx
from culvert.config.transaction import SHIPPED, Exists, InUse, Missing, Transaction
from culvert.model.fields import Edit, Verb
from culvert.model.problems import Invalid
from culvert.model.registry import KINDS
from culvert.model.text import PROBLEMS_MAX

POLICY = KINDS["net", "ipsec", "ipsec-policy"]
SA = KINDS["net", "ipsec", "manual-security-association"]
SELECTOR = KINDS["net", "ipsec", "traffic-selector"]
PUBLISHER = KINDS["sys", "log-config", "publisher"]
SA_OUT = {
    "spi": "2001",
    "source-address": "2.2.2.2",
    "destination-address": "3.3.3.3/32",
    "auth-key": "a" * 20,
    "encrypt-key": "b" * 16,
    "ipsec-policy": "pol-out",
}


def change(base: str = SITE_A) -> Transaction:
    return Transaction(configured(base), READER)


def refused(work: Transaction) -> str:
    with pytest.raises(Invalid) as caught:
        work.check()
    return str(caught.value)


def test_create_modify_delete() -> None:
    work = change(TWO_POLICIES)
    work.create(SA, "extra", SA_OUT)
    work.modify(SA, "extra", {"description": "spare"})
    own = work.check().get(SA.path, "/Common/extra")
    assert own is not None
    assert own["description"] == "spare"
    work.delete(SA, "extra")
    assert work.check() == configured(TWO_POLICIES)


def test_duplicates_and_missing_objects() -> None:
    with pytest.raises(Exists):
        change().create(POLICY, "pol-out", {})
    with pytest.raises(Missing):
        change().modify(POLICY, "nobody", {"mode": "tunnel"})
    with pytest.raises(Missing):
        change().delete(POLICY, "nobody")
    with pytest.raises(Missing) as caught:
        change().create(POLICY, "/Elsewhere/x", {})
    assert caught.value.name == "/Elsewhere"


def test_a_referenced_object_stays() -> None:
    work = change()
    work.delete(POLICY, "pol-out")
    with pytest.raises(InUse) as caught:
        work.check()
    assert (caught.value.name, caught.value.user_name) == ("/Common/pol-out", "/Common/sa-out")


def test_a_whole_tunnel_may_go_in_one_transaction_in_any_order() -> None:
    work = change()
    for kind, name in ((POLICY, "pol-out"), (SA, "sa-out"), (SELECTOR, "ts-out")):
        work.delete(kind, name)
    assert work.check().get(POLICY.path, "/Common/pol-out") is None


def test_shipped_objects_stay() -> None:
    with pytest.raises(Invalid, match="part of the system"):
        change().delete(POLICY, "default-ipsec-policy")


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"spi": "255"}, "255 is not allowed; allowed: a number from 256 to 4294967295"),
        ({"spi": "4294967296"}, "4294967296 does not fit"),
        ({"spi": "-1"}, "allowed: a number from 256"),
        ({"destination-address": "3.3.3.3/33"}, "prefix length must be a number from 0 to 32"),
        ({"encrypt-algorithm": "des"}, '"des" is not allowed (RFC 8221 section 5'),
        ({"auth-key": "k" * 129}, "key text has at most 128 characters, this has 129"),
        ({"auth-key": "k" * 19 + "\n"}, "printable ASCII"),
        ({"nonsense": "1"}, "nonsense: unknown property"),
        ({"source-address": "2.2.2.2%70000"}, "route domain after % must be a number"),
    ],
)
def test_bad_values_are_named(changes: dict[str, str], part: str) -> None:
    work = change(TWO_POLICIES)
    with pytest.raises(Invalid) as caught:
        work.create(SA, "extra", SA_OUT | changes)
    assert part in str(caught.value)
    assert "IPsec manual security association (/Common/extra)" in str(caught.value)
    assert work.check() == configured(TWO_POLICIES)


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"source-address": "9.9.9.9"}, "9.9.9.9 is not the tunnel-local-address of ipsec-policy /Common/pol-out"),
        ({"destination-address": "9.9.9.9"}, "9.9.9.9 is not the tunnel-remote-address"),
        ({"ipsec-policy": "nobody"}, "the requested IPsec policy (/Common/nobody) was not found"),
        ({"ipsec-policy": "default-ipsec-policy-interface"}, "which manual keys can't serve"),
        ({"protocol": "ah"}, "ah is not the protocol of ipsec-policy"),
        ({"spi": "1001"}, "those of /Common/sa-out; use another spi"),
    ],
)
def test_cross_object_rules(changes: dict[str, str], part: str) -> None:
    work = change()
    work.create(SA, "extra", SA_OUT | changes)
    assert part in refused(work)


@pytest.mark.parametrize(("algorithm", "octets"), [("3des", 24), ("aes128", 16), ("aes192", 24), ("aes256", 32)])
def test_keys_of_every_wrong_length_are_refused(algorithm: str, octets: int) -> None:
    for length in range(1, 129):
        for text in (("kijmlonqpsrutwvyx" * 8)[:length], "0x" + ("0123456789abcdef7" * 8)[: max(0, length - 2)]):
            work = change(TWO_POLICIES)
            right = len(text) == octets or (text.startswith("0x") and len(text) == 2 * octets + 2)
            work.create(SA, "extra", SA_OUT | {"encrypt-algorithm": algorithm, "encrypt-key": text})
            if right:
                work.check()
                continue
            told = refused(work)
            assert f"{algorithm} needs {octets} characters, or 0x and {2 * octets} hexadecimal digits" in told
            assert "kij" not in told
            assert "aaa" not in told


def test_null_takes_no_key_and_others_need_one() -> None:
    work = change(TWO_POLICIES)
    work.create(SA, "extra", SA_OUT | {"encrypt-algorithm": "null"})
    assert "null takes no key" in refused(work)
    work.modify(SA, "extra", {"encrypt-key": "none"})
    work.check()
    work.modify(SA, "extra", {"encrypt-algorithm": "aes256"})
    assert "a key is missing" in refused(work)


def test_tunnel_mode_needs_both_addresses() -> None:
    work = change(TWO_POLICIES)
    work.create(POLICY, "half", {"mode": "tunnel", "tunnel-local-address": "2.2.2.2"})
    assert "mode tunnel needs an address here, not any6" in refused(work)


def test_selectors_of_a_manual_policy_have_one_direction() -> None:
    base = {"source-address": "10.9.0.0/24", "destination-address": "10.2.0.0/24", "ipsec-policy": "pol-out"}
    work = change()
    work.create(SELECTOR, "other", base)
    assert "both is not allowed with ipsec-policy /Common/pol-out" in refused(work)
    work.modify(SELECTOR, "other", {"direction": "in"})
    assert "contradicts another selector" in refused(work)
    work.modify(SELECTOR, "other", {"direction": "out"})
    work.check()


def test_both_choices_of_selector_addresses_are_accepted() -> None:
    work = change()
    for name, direction, policy, source, destination in (
        ("out2", "out", "pol-out", "2.2.2.2", "3.3.3.3"),
        ("in2", "in", "pol-in", "3.3.3.3", "2.2.2.2"),
    ):
        raw = {"source-address": source, "destination-address": destination, "direction": direction}
        work.create(SELECTOR, name, raw | {"ipsec-policy": policy})
    own = work.check().get(SELECTOR.path, "/Common/out2")
    assert own is not None
    assert own.raw()["source-address"] == "2.2.2.2/32"


def test_list_edits() -> None:
    work = change("")
    work.create(PUBLISHER, "ipsec", {"destinations": Edit(Verb.ADD, ("local-syslog",))})
    with pytest.raises(Invalid, match="already there"):
        work.modify(PUBLISHER, "ipsec", {"destinations": Edit(Verb.ADD, ("local-syslog",))})
    work.modify(PUBLISHER, "ipsec", {"destinations": Edit(Verb.DELETE, ("local-syslog",))})
    assert work.check().get(PUBLISHER.path, "/Common/ipsec") is not None
    with pytest.raises(Invalid, match="not there"):
        work.modify(PUBLISHER, "ipsec", {"destinations": Edit(Verb.DELETE, ("local-syslog",))})


def told(content: str) -> list[tuple[int, int, str]]:
    with pytest.raises(Invalid) as caught:
        configured(content)
    return [(own.line, own.column, own.sentence) for own in caught.value.problems]


def test_a_file_tells_every_problem_of_a_stanza() -> None:
    content = (
        "net ipsec ipsec-policy p {\n    bogus1 {\n        x\n    }\n    mode tunel\n    bogus2 y\n"
        "    protocol ip\n    mode tunnel\n}\n"
    )
    assert [(line, column) for line, column, _ in told(content)] == [(2, 5), (5, 5), (6, 5), (7, 5), (8, 5)]
    inside = "ltm virtual v {\n    ip-forward\n    vlans {\n        {\n        }\n    }\n    mask x\n}\n"
    assert [line for line, *_ in told(inside)] == [4, 7]


def test_a_file_tells_what_is_wrong_between_objects_beside_what_is_wrong_in_one() -> None:
    content = (
        "net ipsec ipsec-policy p {\n    bogus x\n}\n"
        "net ipsec traffic-selector t {\n    source-address 10.1.0.0/24\n    destination-address 10.2.0.0/24\n"
        "    ipsec-policy nobody\n}\n"
        "net ipsec traffic-selector u {\n    source-address 10.1.0.0/24\n    destination-address fd00::/64\n"
        "    ipsec-policy p\n}\n"
    )
    assert told(content) == [
        (2, 5, '"bogus" unknown property'),
        (7, 5, "the requested IPsec policy (/Common/nobody) was not found"),
        (11, 5, "fd00::/64 is not of the family of source-address 10.1.0.0/24"),
    ]


@pytest.mark.parametrize(
    "broken",
    [
        "auth partition S1 {\n    default-route-domain x\n}\n",
        "net route-domain 1 {\n    id 1\n    strict maybe\n}\nauth partition S1 {\n    default-route-domain 1\n}\n",
        "net ipsec ipsec-policy /Common/p {\n    mode tunel\n}\n",
        "net ipsec ipsec-polcy /Common/p { }\n",
        "net vlan v {\n    tag 9999\n}\n",
        "net vlan v { }\nnet vlan a }\n",
    ],
)
def test_what_follows_from_a_broken_stanza_is_not_told(broken: str) -> None:
    others = (
        "auth user ann {\n    partition-access {\n        S1 { }\n    }\n}\n"
        "sys folder /S1/deep { }\nnet ipsec ipsec-policy /S1/deep/q { }\n"
        "net ipsec traffic-selector t {\n    source-address 10.1.0.0/24\n    destination-address 10.2.0.0/24\n"
        "    ipsec-policy p\n}\n"
        "net self 10.1.0.1/24 {\n    vlan v\n}\n"
    )
    whole = {
        "auth partition": "auth partition S1 { }\n",
        "ipsec-policy": "net ipsec ipsec-policy p { }\n",
        "net vlan": "net vlan v { }\n",
    }
    rest = "".join(own for word, own in whole.items() if word not in broken.replace("polcy", "policy"))
    assert len(told(rest + others + broken)) == 1


def test_a_problem_without_a_property_points_at_its_stanza() -> None:
    assert told("net vlan v { }\n  net route r {\n    network 10.9.0.0/24\n}\n")[0][:2] == (2, 3)


def test_problems_are_no_more_than_anybody_reads() -> None:
    """Nor does telling them take long: each of many claims on one address is a problem."""
    bad = "net ipsec ipsec-policy p {\n" + "    bogus x\n" * 20_000 + "}\n"
    vlan = "net vlan v { }\n"
    same = vlan + "".join(f"net self s{number} {{ address 10.0.0.1/24 vlan v }}\n" for number in range(1500))
    values = vlan + "".join(f"net self s{number} {{\n address x\n vlan v\n}}\n" for number in range(1500))
    for content in (bad, same, values, same + bad):
        started = time.monotonic()
        assert len(told(content)) == PROBLEMS_MAX
        assert time.monotonic() - started < 30


def test_vlan_tags_are_chosen_from_the_top() -> None:
    made = configured("net vlan a { }\nnet vlan b { }\nnet vlan c { tag 4093 }")
    assert [vlan["tag"] for vlan in made.all(("net", "vlan"))] == [4094, 4092, 4093] or [
        vlan["tag"] for vlan in made.all(("net", "vlan"))
    ][2] == 4093


def test_self_and_route_take_their_name_as_address() -> None:
    made = configured(
        "net vlan v { }\nnet self 10.1.1.1/24 { vlan v allow-service all }\nnet route default { gw 10.1.1.254 }"
    )
    own = made.get(("net", "self"), "/Common/10.1.1.1/24")
    assert own is not None
    assert own.raw()["address"] == "10.1.1.1/24"
    route = made.get(("net", "route"), "/Common/default")
    assert route is not None
    assert route.raw()["network"] == "default"


@pytest.mark.parametrize(
    ("destination", "mask", "network"),
    [
        ("0.0.0.0:any", "any", "0.0.0.0/0"),
        ("0.0.0.0/0:0", None, "0.0.0.0/0"),
        ("10.2.0.0:80", "255.255.255.0", "10.2.0.0/24"),
        ("10.2.0.0/24:http", None, "10.2.0.0/24"),
        ("/Common/10.2.0.1:0", "255.255.255.255", "10.2.0.1/32"),
        ("::.any", "any6", "::/0"),
        ("::/0", None, "::/0"),
        ("any6.any", None, "::/0"),
        ("2001:db8::.443", "ffff:ffff::", "2001:db8::/32"),
    ],
)
def test_virtual_destinations(destination: str, mask: str | None, network: str) -> None:
    from culvert.model.ltm import VIRTUAL_KIND, destination_network

    work = change("")
    raw = {"destination": destination, "ip-forward": True} | ({"mask": mask} if mask else {})
    work.create(VIRTUAL_KIND, "vs", raw)
    own = work.check().get(VIRTUAL_KIND.path, "/Common/vs")
    assert own is not None
    assert str(destination_network(own)) == network


def test_ten_thousand_tunnels_load_in_seconds() -> None:
    """Growth must be linear: a quadratic step would take minutes here."""
    stanzas = [TWO_POLICIES]
    for number in range(5000):
        stanzas.append(
            f"net ipsec manual-security-association s{number} {{ spi {number + 1000} source-address 2.2.2.2 "
            f"destination-address 3.3.3.3 auth-key {AUTH_KEY} encrypt-key {CIPHER_KEY} ipsec-policy pol-out }}"
        )
        stanzas.append(
            f"net ipsec traffic-selector t{number} {{ source-address 10.{number >> 8}.{number & 255}.0/24 "
            "destination-address 10.200.0.0/16 direction out ipsec-policy pol-out }"
        )
    started = time.monotonic()
    made = configured("\n".join(stanzas))
    assert len(list(made.all(SA.path))) == 5000
    assert time.monotonic() - started < 100


def test_shipped_configuration_saves_as_almost_nothing() -> None:
    assert tx.saved_text(SHIPPED) == (
        "net ipsec ike-daemon /Common/ikedaemon {\n    log-publisher /Common/default-ipsec-log-publisher\n}\n"
        "sys global-settings {\n    hostname culvert.example\n}\n"
    )
