"""`show`: what it is asked about, what it refuses."""

import json

import pytest

from culvert import __version__
from culvert.tmsh import command
from culvert.tmsh.session import Session
from tests.control.live import Site


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("src_addr 2.2.2.2%0", ["out"]),
        ("src-addr 2.2.2.2%7", []),
        ("route-domain 0", ["in", "out"]),
        ("route_domain 0", ["in", "out"]),
        ("route-domain /Common/0", ["in", "out"]),
        ("route-domain 7", []),
        ("traffic_selector ts-in", ["in"]),
        ("dst 2.2.2.2 spi 1002", ["in"]),
    ],
)
def test_filters_of_sas(site: Site, words: str, names: list[str]) -> None:
    lines = site.tmsh(f"show net ipsec ipsec-sa {words}").splitlines()[1:-1]
    assert [line.split(") ")[1].split()[0] for line in lines] == names
    told = f"{len(names)} manual" if names else "there are no such security associations"
    assert site.tmsh(f"delete net ipsec ipsec-sa {words}").startswith(told)


@pytest.mark.parametrize(
    "words", ["peer-ip 3.3.3.3", "peer_ip 3.3.3.3%0", "peer-name ann", "route-domain 0", "traffic-selector ts-out"]
)
def test_filters_of_ike_sas(site: Site, words: str) -> None:
    assert site.tmsh(f"show net ipsec ike-sa {words}").endswith("Total records returned: 0")
    assert site.tmsh(f"delete net ipsec ike-sa {words}").startswith("there are no negotiated")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("show sys log ipsec spi 3", 'Syntax Error: unexpected argument "spi"'),
        ("show sys log lines 3", 'Syntax Error: unexpected argument "lines"'),
        ("show net ipsec ipsec-sa lines 3", 'Syntax Error: unexpected argument "lines"'),
        ("show net ipsec-stat spi 7", 'Syntax Error: unexpected argument "spi"'),
        ("show net ipsec ike-sa spi 7", 'Syntax Error: unexpected argument "spi"'),
        ("delete net ipsec ike-sa spi 7", 'Syntax Error: unexpected argument "spi"'),
        ("show net ipsec ike-sa peer-ip x", 'Syntax Error: "x" is not allowed for peer-ip'),
        ("show net ipsec ipsec-sa route-domain x", 'Syntax Error: "x" is not allowed for route-domain'),
        ("show net ipsec traffic-selector ts-in spi 4", 'Syntax Error: unexpected argument "spi"'),
        ("show net route nosuch", "01020036:3: The requested route (/Common/nosuch) was not found."),
        ("show ltm virtual nosuch", "01020036:3: The requested Virtual Server (/Common/nosuch) was not found."),
        ("show net interface nosuch", "01020036:3: The requested interface (nosuch) was not found."),
    ],
)
def test_what_a_show_does_not_have(site: Site, line: str, told: str) -> None:
    assert site.type(line) == [told]


@pytest.mark.parametrize("what", ["net ipsec-stat", "sys log", "sys version", "ltm virtual"])
def test_the_daemon_holds_shows_to_their_filters(site: Site, what: str) -> None:
    assert site.refused("show", what=what, filters={"spi": "7"}).text == 'Syntax Error: unexpected argument "spi"'


def test_the_unit_that_is_preferred(site: Site) -> None:
    (row, *_) = (own for own in site.plane._traffic)
    row[0] = 353_912
    session = Session(site)

    def shown(options: str = "") -> str:
        return command.run(f"show net ipsec-stat {options}", session).splitlines()[4].split()[2]

    command.run("modify cli preference stat-units raw", session)
    session.begin()
    assert (shown(), shown("kil"), shown("default")) == ("353912", "353.9K", "353.9K")
    command.run("modify cli preference stat-units meg", session)
    session.look()
    assert shown() == "0.4M"


def test_the_running_configuration_is_what_list_lists(site: Site) -> None:
    for words in ("", "net ipsec", "net ipsec traffic-selector ts-out order", "ltm virtual all-properties"):
        assert site.tmsh(f"show running-config {words}") == site.tmsh(f"list {words}")
    assert site.type("/net", "show runn self inside address")[1] == site.tmsh("list net self inside address")


def test_a_module_shows_all_that_is_in_it(site: Site) -> None:
    told = site.tmsh("show net ipsec")
    parts = ("drops", "ike-sa", "ipsec-sa", "traffic-selector")
    assert told == "\n".join(site.tmsh(f"show net ipsec {part}") for part in parts)
    assert "Net::Vlan" in site.tmsh("show net")
    system = site.tmsh("show sys")
    assert "Sys::Version" in system
    assert "Sys::Log" in system
    assert "IPsec-SA established" not in system
    assert set(json.loads(site.tmsh("show ltm json"))) == {"ltm virtual", "ltm virtual-address"}
    assert site.type("show net frob", "show net spi 3", "show auth") == [
        'Syntax Error: unexpected argument "frob"',
        'Syntax Error: unexpected argument "spi"',
        "Syntax Error: auth alone shows nothing; there is list",
    ]


@pytest.mark.parametrize(
    ("what", "counters"),
    [("ike-evt-stat", ("Active tunnels", "R init sa")), ("ike-msg-stat", ("Bytes in", "Notifys out"))],
)
def test_counters_of_ike_are_zero(site: Site, what: str, counters: tuple[str, str]) -> None:
    lines = site.tmsh(f"show net {what}").splitlines()[4:]
    assert len(lines) == 20
    assert {line.split()[-1] for line in lines} == {"0"}
    for word in counters:
        assert any(line.startswith(f"{word} ") for line in lines)


def test_the_version_of_the_commands(site: Site) -> None:
    assert site.tmsh("list cli version").splitlines() == [
        "cli version {",
        f"    active {__version__}",
        f"    latest {__version__}",
        f"    supported {{ {__version__} }}",
        "}",
    ]
    assert f"Active     {__version__}" in site.tmsh("show cli version").splitlines()
    assert "it can't be changed" in site.type("modify cli version active 12.0.0")[0]


def test_routes_by_name(site: Site) -> None:
    assert [line.split()[0] for line in site.tmsh("show net route").splitlines()[4:]] == ["far", "inside", "outside"]
    for words in ("static", "far", "f*"):
        assert [line.split()[0] for line in site.tmsh(f"show net route {words}").splitlines()[4:]] == ["far"]


def test_names_are_those_of_the_folder(site: Site) -> None:
    told = site.type(
        "create auth partition P1",
        "create ltm virtual /P1/far destination 10.9.0.0/24:any ip-forward",
        "cd /P1",
        "show ltm virtual far",
        "show ltm virtual forward",
    )
    assert "/P1/far" in told[3]
    assert told[4] == "01020036:3: The requested Virtual Server (/P1/forward) was not found."
