"""The brace language: what is read is what was written."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sealing import AUTH_KEY, CIPHER_KEY, SITE_A, TWO_POLICIES, configured

from culvert.config import transaction as tx
from culvert.model import text
from culvert.model.problems import Invalid
from culvert.model.registry import KINDS
from culvert.model.text import Style

POLICY = ("net", "ipsec", "ipsec-policy")
SELECTOR = ("net", "ipsec", "traffic-selector")

WORDS = st.text("abcdefgh0123456789-_.", min_size=1, max_size=12).map(lambda word: "n" + word.replace("..", "."))
FREE = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cf", "Zl", "Zp", "Cn", "Co")), max_size=30)
V4 = st.ip_addresses(v=4).filter(lambda ip: not ip.is_unspecified)


def listed(path: tuple[str, ...], name: str, style: Style) -> str:
    own = configured(SITE_A).get(path, name)
    assert own is not None
    return text.render(own.kind, own.name, own.raw(), style)


def test_list_prints_only_what_differs_relative_to_common() -> None:
    assert listed(POLICY, "/Common/pol-out", Style("/Common")) == (
        "net ipsec ipsec-policy pol-out {\n    mode tunnel\n    tunnel-local-address 2.2.2.2\n"
        "    tunnel-remote-address 3.3.3.3\n}"
    )


def test_one_line() -> None:
    assert listed(SELECTOR, "/Common/ts-out", Style("/Common", one_line=True)) == (
        "net ipsec traffic-selector ts-out { destination-address 10.2.0.0/24 direction out ipsec-policy pol-out "
        "source-address 10.1.0.0/24 }"
    )


def test_all_properties_has_the_vendor_order() -> None:
    """Order and words as a 13.1.3.5 system lists them; what is our own comes behind."""
    lines = listed(POLICY, "/Common/pol-out", Style("/Common", everything=True)).splitlines()[1:-1]
    assert [line.split()[0] for line in lines[:13]] == [
        *("app-service", "description", "ike-phase2-auth-algorithm", "ike-phase2-encrypt-algorithm"),
        *("ike-phase2-lifetime", "ike-phase2-lifetime-kilobytes", "ike-phase2-perfect-forward-secrecy", "ipcomp"),
        *("mode", "partition", "protocol", "tunnel-local-address", "tunnel-remote-address"),
    ]
    assert lines[13].split() == ["bundle-ah", "disabled"]
    lines = listed(SELECTOR, "/Common/ts-out", Style("/Common", everything=True)).splitlines()[1:-1]
    assert [line.split()[0] for line in lines[:12]] == [
        *("action", "app-service", "description", "destination-address", "destination-port", "direction"),
        *("ip-protocol", "ipsec-policy", "order", "partition", "source-address", "source-port"),
    ]
    assert lines[12:] == ["    icmp-code any", "    icmp-type any"]
    assert "    source-port any" in lines
    assert "    ip-protocol 255" in lines


def test_the_vendor_publisher_example() -> None:
    made = configured("sys log-config publisher /Common/ipsec { destinations add { local-syslog } }")
    own = made.get(("sys", "log-config", "publisher"), "/Common/ipsec")
    assert own is not None
    assert text.render(own.kind, own.name, own.raw(), Style("/Common")) == (
        "sys log-config publisher ipsec {\n    destinations {\n        local-syslog { }\n    }\n}"
    )


def test_saved_text_reads_back_as_the_same_configuration() -> None:
    before = configured(SITE_A)
    saved = tx.saved_text(before)
    after = configured(saved)
    assert after == before
    assert tx.saved_text(after) == saved
    assert "default-ipsec-policy " not in saved


def test_no_key_text_in_saved_text() -> None:
    saved = tx.saved_text(configured(SITE_A))
    assert "auth-key-encrypted $M$" in saved
    assert AUTH_KEY.strip('"') not in saved
    assert CIPHER_KEY.strip('"') not in saved


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(
        WORDS,
        st.tuples(V4, V4, FREE, st.integers(0, 2**32 - 1), st.integers(0, 65535), st.sampled_from([6, 17, 255])),
        max_size=6,
    )
)
def test_parse_of_render_is_the_same(drawn: dict[str, tuple[object, object, str, int, int, int]]) -> None:
    stanzas = [TWO_POLICIES]
    for name, (source, destination, description, order, port, protocol) in drawn.items():
        raw = {
            "source-address": f"{source}/32",
            "destination-address": f"{destination}/32",
            "description": description,
            "order": str(order),
            "destination-port": str(port),
            "ip-protocol": str(protocol),
            "ipsec-policy": "/Common/pol-out",
            "direction": "out",
        }
        stanzas.append(text.render(KINDS[SELECTOR], f"/Common/{name}", raw, Style()))
    before = configured("\n".join(stanzas))
    for one_line in (False, True):
        for everything in (False, True):
            style = Style(one_line=one_line, everything=everything)
            rendered = [
                text.render(own.kind, own.name, own.raw(), style) for own in before.every() if not own.kind.fixed
            ]
            assert configured("\n".join(rendered)) == before


@pytest.mark.parametrize(
    ("content", "line", "column", "part"),
    [
        ("net ipsec ipsec-policy p { mode tunnle }", 1, 28, '"tunnle" is not allowed; allowed: transport, tunnel'),
        ("net ipsec ipsec-policy p {\n  moed tunnel\n}", 2, 3, '"moed" unknown property'),
        ("net ipsec ipsec-policy p {\n  mode tunnel\n  mode tunnel\n}", 3, 3, "given twice"),
        ("net ipsec ipsec-policy p { mode }", 1, 28, '"mode" needs a value'),
        ("net ipsec nonsense p { }", 1, 11, 'unexpected argument "nonsense"'),
        ("net ipsce ipsec-policy /Common/a { }", 1, 5, 'unexpected argument "ipsce"'),
        ("net vlan v { }\nnet trafic-selector t {\n}", 2, 5, 'unexpected argument "trafic-selector"'),
        ("net tunnels tunel t {\n    mtu 9\n}", 1, 13, 'unexpected argument "tunel"'),
        ("net ipsec { }", 1, 5, 'unexpected argument "ipsec"'),
        ("nte vlan v { }", 1, 1, 'unexpected argument "nte"'),
        ("net ipsec ipsec-policy { }", 1, 1, "needs a name"),
        ("net ipsec ipsec-policy p q { }", 1, 26, 'unexpected argument "q"'),
        ("net ipsec ipsec-policy p { }\nnet ipsec ipsec-policy p { }", 2, 1, "is given twice, first on line 1"),
        ("sys global-settings { hostname -x }", 1, 23, "is not a host name"),
        (
            TWO_POLICIES + "net self s { address 10.0.0.1/33 vlan v }",
            12,
            14,
            "prefix length must be a number from 0 to 32",
        ),
    ],
)
def test_errors_point_at_the_place(content: str, line: int, column: int, part: str) -> None:
    with pytest.raises(Invalid) as caught:
        configured(content)
    problem = caught.value.problems[0]
    assert part in str(problem)
    assert (problem.line, problem.column) == (line, column)


@pytest.mark.parametrize("first", ["net vlan v {\n    tag 7\n", "net ipsec ipsec-policy p {\n"])
def test_a_stanza_that_another_swallows_is_no_property_of_it(first: str) -> None:
    with pytest.raises(Invalid) as caught:
        configured(f"{first}net ipsec ipsec-policy q {{\n    mode transport\n}}\n}}\n")
    (problem,) = caught.value.problems
    assert problem.sentence == 'unexpected argument "net": a "}" is missing before it'
    assert (problem.line, problem.column) == (first.count("\n") + 1, 1)


@pytest.mark.parametrize(
    "first",
    ["ltm pool /Common/p {\n    members {\n    }\n", "ltm rule /Common/r {\n    when RULE_INIT {\n    }\n"],
)
def test_a_stanza_that_a_foreign_one_swallows_is_not_kept(first: str) -> None:
    others = (
        "net ipsec ipsec-policy /Common/q {\n    mode transport\n}\n}\nnet self s {\n    address x\n    vlan v\n}\n"
    )
    with pytest.raises(Invalid) as caught:
        configured(first + others)
    assert [(own.line, own.sentence[:9]) for own in caught.value.problems] == [(4, 'a "}" is '), (9, '"x" is no')]


def test_a_foreign_stanza_that_never_ends_is_told_where_it_begins() -> None:
    with pytest.raises(Invalid) as caught:
        configured('net vlan v { }\nltm pool /Common/p {\n    members {\n    }\nltm rule /Common/r {\n    "\n}\n')
    (problem,) = caught.value.problems
    assert (str(problem.sentence), problem.line) == ('"{" is never closed', 2)


@pytest.mark.parametrize("hostile", ["ltm pool x {\n", "ltm virtual x {\n", "a" + " " * 5000, "ltm ", "ltm a b\n"])
def test_reading_takes_no_longer_than_the_text_is_long(hostile: str) -> None:
    started = time.monotonic()
    for end in ("", "{ }"):
        text.read(hostile * (400_000 // len(hostile)) + end, KINDS)
    assert time.monotonic() - started < 20


def test_a_program_may_say_anything_else() -> None:
    rule = "ltm rule /Common/r {\nltm pool p {\n}\n}"
    kept = configured(rule).get(("foreign",), "ltm rule /Common/r")
    assert kept is not None
    assert kept["text"] == rule


@pytest.mark.parametrize(
    "header",
    [
        *("arp /Common/a", "bwc policy /Common/b", "cos global-settings", "fdb tunnel /Common/f", "fdb vlan /Common/f"),
        *("packet-filter-trusted", "routing profile bgp /Common/r", "rst-cause", "stp /Common/cist", "trunk t"),
        *("tunnels gre /Common/g", "tunnels tunnel /Common/t", "tunnels vxlan /Common/v", "vlan-group /Common/g"),
    ],
)
def test_components_of_the_vendor_are_kept(header: str) -> None:
    stanza = f"net {header} {{\n    novelty yes\n}}"
    kept = configured(stanza).get(("foreign",), f"net {header}")
    assert kept is not None
    assert kept["text"] == stanza


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("open sesame", 'an unknown property behind "auth-key"; a key with spaces stands in double quotes'),
        ("open { sesame }", 'unexpected argument "{"'),
        ('"open" mdoe', '"mdoe" unknown property'),
        ("0x00 mdoe", '"mdoe" unknown property'),
        ("open spi 300 mdoe", '"mdoe" unknown property'),
    ],
)
def test_what_may_be_more_of_a_key_is_not_quoted(key: str, told: str) -> None:
    with pytest.raises(Invalid) as caught:
        configured(f"net ipsec manual-security-association m {{\n    auth-key {key}\n    novelty x\n}}")
    assert [(own.line, own.sentence) for own in caught.value.problems] == [
        (2, told),
        (3, '"novelty" unknown property'),
    ]


def test_every_problem_of_a_file_is_told() -> None:
    with pytest.raises(Invalid) as caught:
        configured("net ipsec ipsec-policy a { mode x }\nnet self s { }\nnet vlan v { mtu 1 tag 9999 }")
    assert [problem.line for problem in caught.value.problems] == [1, 2, 2, 3, 3]
