"""tmsh words to calls, and answers to text."""

from typing import Any

import pytest

from culvert.control.errors import ControlError, SyntaxProblem
from culvert.tmsh import command
from culvert.tmsh import format as layout
from culvert.tmsh.script import join, split, statements
from culvert.tmsh.session import Session


class Recorder:
    """Takes the calls down. The real daemon answers them in the scenarios."""

    def __init__(self, answer: Any = None) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.answer = {"warnings": []} if answer is None else answer

    def call(self, name: str, /, **args: object) -> Any:
        self.calls.append((name, args))
        return self.answer


def said(line: str) -> tuple[str, dict[str, Any]]:
    recorder = Recorder()
    command.run(line, Session(recorder))
    (only,) = recorder.calls
    return only


def changed(line: str) -> dict[str, Any]:
    """The one operation that a command asks for, in the folder that it was typed in."""
    name, args = said(line)
    assert name == "transaction"
    (operation,) = args["operations"]
    assert operation.pop("folder") == "/Common"
    return dict(operation)


def test_create_with_and_without_braces_is_the_same() -> None:
    bare = changed("create net ipsec ipsec-policy p mode tunnel tunnel-local-address 2.2.2.2")
    assert bare == changed("create /net ipsec ipsec-policy p { mode tunnel tunnel-local-address 2.2.2.2 }")
    assert bare == {
        "verb": "create",
        "kind": "net ipsec ipsec-policy",
        "name": "p",
        "properties": {"mode": "tunnel", "tunnel-local-address": "2.2.2.2"},
    }


def test_the_procedure_of_the_manual() -> None:
    assert changed("create sys log-config publisher ipsec { destinations add { local-syslog }}")["properties"] == {
        "destinations": {"verb": "add", "items": [{"name": "local-syslog"}]}
    }
    assert changed("modify net ipsec ike-daemon ikedaemon log-level debug2") == {
        "verb": "modify",
        "kind": "net ipsec ike-daemon",
        "names": ["ikedaemon"],
        "properties": {"log-level": "debug2"},
    }
    assert changed("modify net ipsec ike-daemon ikedaemon log-publisher ipsec")["properties"] == {
        "log-publisher": "ipsec"
    }


def test_flags_stand_alone() -> None:
    made = changed(
        "create ltm virtual v destination 0.0.0.0:any mask any ip-forward vlans-enabled vlans add { internal }"
    )
    assert made["properties"] == {
        "destination": "0.0.0.0:any",
        "mask": "any",
        "ip-forward": True,
        "vlans-enabled": True,
        "vlans": {"verb": "add", "items": ["internal"]},
    }


@pytest.mark.parametrize("word", ["src_addr", "src-addr"])
def test_show_filters_take_both_spellings(word: str) -> None:
    recorder = Recorder([])
    command.run(f"show net ipsec ipsec-sa {word} 2.2.2.2 all-properties", Session(recorder))
    assert recorder.calls == [("show", {"what": "net ipsec ipsec-sa", "filters": {"src-addr": "2.2.2.2"}})]


@pytest.mark.parametrize("word", ["peer-ip", "peer-name", "route-domain", "traffic-selector"])
def test_ike_sas_have_filters_of_their_own(word: str) -> None:
    recorder = Recorder([])
    command.run(f"show net ipsec ike-sa {word} x", Session(recorder))
    value = "/Common/x" if word == "traffic-selector" else "x"
    assert recorder.calls == [("show", {"what": "net ipsec ike-sa", "filters": {word: value}})]


@pytest.mark.parametrize("line", ["show net ipsec ike-sa spi 1001", "show net ipsec-stat spi 1001"])
def test_filters_of_another_show_are_unexpected(line: str) -> None:
    with pytest.raises(SyntaxProblem, match='unexpected argument "spi"'):
        command.run(line, Session(Recorder([])))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("frobnicate", 'Syntax Error: unexpected argument "frobnicate"'),
        ("create net ipsec ipsec-policy", "Syntax Error: a net ipsec ipsec-policy needs a name"),
        ("create net ipsec ipsec-policy p { moed tunnel }", 'Syntax Error: "moed" unknown property'),
        ("create net ipsec ipsec-policy p mode", 'Syntax Error: "mode" needs a value'),
        ("create sys log-config publisher p { destinations add { } }", 'Syntax Error: "add" needs at least one item'),
        ("show net nonsense", 'Syntax Error: unexpected argument "nonsense"'),
        ("create net vlan {", 'Syntax Error: "{" is never closed'),
        ("load sys config file /nonexistent/file", "Syntax Error: /nonexistent/file: No such file"),
    ],
)
def test_bad_commands_are_refused_before_any_call(line: str, told: str) -> None:
    recorder = Recorder()
    with pytest.raises(ControlError) as caught:
        command.run(line, Session(recorder))
    assert caught.value.text.startswith(told)
    assert recorder.calls == []


def test_words_of_an_argument_vector_keep_their_borders() -> None:
    assert join(["create", "net", "vlan", "v", "description", "a b"]) == 'create net vlan v description "a b"'
    assert join(["list net vlan"]) == "list net vlan"
    assert join(["create", "net", "vlan", "v", "{ mtu 1400 }"]) == "create net vlan v { mtu 1400 }"


def test_commands_are_split_at_semicolons_outside_quotes() -> None:
    assert split('cd /; list net vlan "a;b" ;') == ["cd /", 'list net vlan "a;b"']


def test_a_script_may_spread_a_command_over_lines() -> None:
    lines = ["list net vlan;\n", "create net vlan v {\n", "  mtu 1400\n", "}\n", "\n"]
    assert list(statements(lines)) == ["list net vlan", "create net vlan v {\n  mtu 1400\n}"]


SA = {
    "name": "/Common/sa-out",
    "source": "165.160.15.20",
    "destination": "10.100.20.3",
    "spi": 0x6BE3FF01,
    "direction": "out",
    "protocol": "esp",
    "mode": "tunnel",
    "state": "mature",
    "tmm": 2,
    "reqid": 39690,
    "encryption": "aes-gmac128",
    "authentication": "none",
    "combined": True,
    "esn": False,
    "encapsulation": [4500, 4500],
    "compression": None,
    "path_mtu": 1400,
    "hard_lifetime": {"seconds": 94, "octets": None, "packets": None},
    "soft_lifetime": {"seconds": 34, "octets": None, "packets": 7},
    "lost": 0,
    "bytes": 307488,
    "packets": 300,
    "sequence": 300,
    "replay_window": 64,
    "created": 1355416740.0,
    "last_use": 0.0,
    "drops": {"replay": 3},
}


def test_ipsec_sa_in_the_shape_of_the_manual() -> None:
    assert layout.lay_out("net ipsec ipsec-sa", [SA], set()).splitlines() == [
        "IPsec::SecurityAssociations",
        "165.160.15.20 -> 10.100.20.3 SPI(0x6be3ff01) out esp (tmm: 2)",
        "Total records returned: 1",
    ]
    details = layout.lay_out("net ipsec ipsec-sa", [SA], {"all-properties"})
    for part in (
        "165.160.15.20 -> 10.100.20.3\n" + "-" * 77,
        "  Direction: out;  SPI: 0x6be3ff01(1810104065);  ReqID: 0x9b0a(39690)",
        "  Protocol: esp;  Mode: tunnel;  State: mature",
        "  Authenticated Encryption : aes-gmac128",
        "  Current Usage: 307488 bytes",
        "  Hard lifetime: 94 seconds; unlimited bytes",
        "  Soft lifetime: 34 seconds; unlimited bytes; 7 packets",
        "  Replay window size: 64",
        "  Last use: never",
        f"\n  Last use: never{'Create: 12/13/2012:16:39':>60}\n",
        "  Path MTU: 1400;  UDP: 4500->4500",
        "  Drops: replay 3",
    ):
        assert part in details
    signed = SA | {"protocol": "ah", "direction": "in", "combined": False, "authentication": "sha256", "esn": True}
    signed |= {"encapsulation": None, "compression": "deflate", "path_mtu": 0, "lost": 2}
    details = layout.lay_out("net ipsec ipsec-sa", [signed], {"all-properties"})
    assert "Encryption" not in details
    assert "  Authentication : sha256" in details
    assert "  Path MTU: unknown;  Lost: 2;  Compression: deflate;  Extended sequence numbers" in details


TMM = {"tmm": 0, "state": "running", "process": 77, "engine": "native", "doors": "raw", "events": []}
JOURNAL = {"path": "/state/leases", "writable": True, "trouble": "", "written": 1355416740.0, "short": [], "doubt": ""}


def test_tmm_info_tells_of_the_counter_journal() -> None:
    assert layout.lay_out("sys tmm-info", [TMM | {"journal": JOURNAL}], set()).splitlines()[-3:] == [
        "  Counter journal: /state/leases",
        "    Writable      yes",
        "    Last written  12/13/2012:16:39",
    ]
    full = JOURNAL | {"writable": False, "trouble": "no space is left on the disk", "short": ["/Common/a", "/Common/b"]}
    told = layout.lay_out("sys tmm-info", [TMM | {"journal": full}], set())
    assert "    Writable      no: no space is left on the disk\n" in told
    assert told.endswith("    Short of numbers: a, b")
    doubted = layout.lay_out("sys tmm-info", [TMM | {"journal": JOURNAL | {"doubt": "the clock was behind"}}], set())
    assert doubted.endswith("    In doubt      the clock was behind")
    assert "Counter journal: none, so no counter modes" in layout.lay_out(
        "sys tmm-info", [TMM | {"journal": None}], set()
    )


def test_ipsec_stat_in_the_shape_of_the_manual() -> None:
    row = {
        "worker": 1,
        "mode": "TUNNEL",
        "packets_in": 353912,
        "bytes_in": 252_400_000,
        "packets_out": 7,
        "bytes_out": 0,
    }
    lines = layout.lay_out("net ipsec-stat", [row], set()).splitlines()
    assert lines[1] == "Net::Ipsec"
    assert lines[0] == lines[3] == "-" * 67
    assert lines[2].split("  ")[0] == "Cmd Id"
    assert lines[4].split() == ["1", "TUNNEL", "353.9K", "252.4M", "7", "0"]
    assert layout.lay_out("net ipsec-stat", [row], {"raw"}).splitlines()[4].split()[2] == "353912"
