"""The tunnel wizard: both systems out of one form, keys that are seen once, and what is wrong at its field."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from culvert.model import net_ipsec
from culvert.model.suites import SUITES
from tests.control.live import Site
from tests.web.visitor import Looked, Visitor, visiting

HERE = "/wizard"
SA = "net ipsec manual-security-association"
FORM = {
    "name": "west", "partition": "Common", "local-address": "2.2.2.2", "remote-address": "3.3.3.3",
    "local-networks": "10.1.0.0/24\r\n10.9.0.0/16", "remote-networks": "10.2.0.0/24", "suite": "aes256+sha256",
    "ipcomp": "none", "keys": "make", "spi-out": "4001", "spi-in": "4002",
}  # fmt: skip
TYPED = {
    "keys": "typed", "out-auth-key": "a-key-of-20-letters1", "in-auth-key": "a-key-of-20-letters2",
    "out-encrypt-key": "0x00112233445566778899aabbccddeeff", "in-encrypt-key": "sixteen letters!",
}  # fmt: skip
HEX = re.compile(r"0x[0-9a-f]{24,}")


@pytest.fixture
def ann(tmp_path: Path) -> Iterator[Visitor]:
    with visiting(tmp_path, guy="guest") as made:
        yield made


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Site]:
    directory = tmp_path / "peer"
    directory.mkdir()
    made = Site(directory)
    yield made
    made.close()


def press(visitor: Visitor, action: str = "finished", **changes: str) -> Looked:
    given = {word.replace("_", "-"): value for word, value in changes.items()}
    return visitor.look(HERE, {**FORM, **given, "do": action})


def secrets_of(site: Site, name: str) -> tuple[bytes, ...]:
    own = site.gateway.snapshot.get(net_ipsec.MANUAL_SA, name)
    assert own is not None
    keys = [own[word] for word in ("auth-key", "encrypt-key")]
    return tuple(key.secret.reveal() for key in keys if key)


def running(site: Site) -> dict[int, tuple[Any, ...]]:
    """The associations as they run: what both systems have to have alike."""
    found = site.call("show", what="net ipsec ipsec-sa", filters={})
    words = ("source", "destination", "protocol", "mode")
    return {int(own["spi"]): (*(own.get(word) for word in words), own["direction"]) for own in found}


def mirrored(found: Mapping[int, tuple[Any, ...]]) -> dict[int, tuple[Any, ...]]:
    return {spi: (*own[:-1], {"in": "out", "out": "in"}[own[-1]]) for spi, own in found.items()}


def commands(page: Looked) -> list[str]:
    return [*page.area("forward").splitlines(), *page.area("commands").splitlines()]


def assert_alike(ours: Site, theirs: Site) -> None:
    assert len(running(ours)) == 2
    assert running(theirs) == mirrored(running(ours))
    assert secrets_of(theirs, "/Common/west_in") == secrets_of(ours, "/Common/west_out")
    assert secrets_of(theirs, "/Common/west_out") == secrets_of(ours, "/Common/west_in")
    assert len({*secrets_of(ours, "/Common/west_in"), *secrets_of(ours, "/Common/west_out")}) in (2, 4)


@pytest.mark.parametrize("suite", [own.word for own in SUITES if not own.counter])
def test_what_the_peer_types_gives_the_mirror_image(ann: Visitor, peer: Site, suite: str) -> None:
    page = press(ann, suite=suite, udp_encapsulation="yes", ipcomp="deflate")
    assert page.status == 200 and page.headers["Cache-Control"] == "no-store"
    assert [answer for answer in peer.type(*commands(page)) if "rror" in answer or "0107" in answer] == []
    assert_alike(ann.inside.site, peer)
    kind = "net ipsec ipsec-policy"
    policy = {own["name"]: own["properties"] for own in peer.call("list", kind=kind, folder="/", recursive=True)}
    ours = ann.listed(kind)
    for one, other in (("out", "in"), ("in", "out")):
        there, here = policy[f"/Common/west_{one}"], ours[f"/Common/west_{other}"]
        assert {**there, "description": ""} == {**here, "description": ""}
        assert (there["udp-encapsulation"], there["ipcomp"]) == ("enabled", "deflate")


def test_the_objects_of_this_system(ann: Visitor) -> None:
    assert press(ann).status == 200
    selectors = {
        (own["source-address"], own["destination-address"], own["direction"], own["ipsec-policy"])
        for name, own in ann.listed("net ipsec traffic-selector").items()
        if name.startswith("/Common/west")
    }
    assert selectors == {
        ("10.1.0.0/24", "10.2.0.0/24", "out", "/Common/west_out"),
        ("10.9.0.0/16", "10.2.0.0/24", "out", "/Common/west_out"),
        ("10.2.0.0/24", "10.1.0.0/24", "in", "/Common/west_in"),
        ("10.2.0.0/24", "10.9.0.0/16", "in", "/Common/west_in"),
    }
    virtual = ann.listed("ltm virtual")["/Common/west_forward"]
    assert (virtual["destination"], virtual["mask"], virtual["ip-forward"]) == ("/Common/0.0.0.0:0", "any", True)
    assert [name for name, _ in ann.calls].count("transaction") == 1


@pytest.mark.parametrize(
    ("words", "made"),
    [
        ("destination 0.0.0.0:any mask any ip-forward", False),
        ("destination 10.0.0.0:any mask 255.0.0.0 ip-forward source 10.0.0.0/8", False),
        ("destination 10.0.0.0:80 mask 255.0.0.0 ip-forward ip-protocol tcp", True),
        ("destination 10.2.0.0:any mask 255.255.255.0 ip-forward", True),
        ("destination 0.0.0.0:any mask any ip-forward disabled", True),
        ("destination 10.0.0.0:any mask 255.0.0.0 ip-forward vlans-enabled vlans add { internal }", True),
    ],
)
def test_a_virtual_server_is_made_where_none_forwards_it_all(ann: Visitor, words: str, made: bool) -> None:
    ann.inside.site.tmsh(f"create ltm virtual there {words}")
    shown = press(ann, "refresh")
    assert ("west_forward" in shown.text) is made


def test_keys_are_in_one_answer_and_nowhere_else(ann: Visitor, tmp_path: Path) -> None:
    before = [ann.look(HERE), press(ann, "refresh"), press(ann, "check"), press(ann, "preview", hx_request="true")]
    page = press(ann)
    keys = set(HEX.findall(page.text))
    assert len(keys) == 4
    after = [
        press(ann), ann.look("/wizard/made/~Common~west?again=1"), ann.look(f"/objects/{SA.replace(' ', '/')}"),
        ann.look(f"/objects/{SA.replace(' ', '/')}/~Common~west_out"), ann.look("/configuration"),
        ann.look("/configuration/text/running"), ann.look("/logs"), ann.look("/audit"),
    ]  # fmt: skip
    for own in (*before, *after):
        assert own.status in (200, 303)
        assert not HEX.search(own.text)
        assert not any(key in str(own.headers) for key in keys)
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(key.encode() in content for key in keys for content in files)
    checked = [args for name, args in ann.calls if name == "transaction" and args.get("validate_only")]
    assert checked and not any(key in str(checked) for key in keys), "what was only checked had other keys"


def test_a_form_that_is_sent_again_makes_and_shows_nothing(ann: Visitor) -> None:
    press(ann)
    before = secrets_of(ann.inside.site, "/Common/west_out")
    again = press(ann)
    assert again.status == 303 and again.headers["Location"] == "/wizard/made/~Common~west?again=1"
    page = ann.look("/wizard/made/~Common~west?again=1")
    assert "shown once" in page.text and "sent before" in page.said("note")[0]
    assert secrets_of(ann.inside.site, "/Common/west_out") == before
    other = press(ann, spi_out="4003")
    assert other.status == 409 and "already exists" in other.wrong()["name"]


def test_new_keys_for_both_systems(ann: Visitor, peer: Site) -> None:
    peer.type(*commands(press(ann)))
    before = secrets_of(ann.inside.site, "/Common/west_out")
    made = ann.look("/wizard/made/~Common~west")
    page = ann.look("/wizard/made/~Common~west", {"spi": made.value("spi")})
    assert page.status == 200 and len(set(HEX.findall(page.text))) == 4
    assert secrets_of(ann.inside.site, "/Common/west_out") != before
    assert not {4001, 4002} & running(ann.inside.site).keys()
    peer.type(*page.area("commands").splitlines())
    assert_alike(ann.inside.site, peer)
    known = secrets_of(ann.inside.site, "/Common/west_out")
    again = ann.look("/wizard/made/~Common~west", {"spi": made.value("spi")})
    assert "sent before" in again.said("note")[0] and not HEX.search(again.text)
    assert secrets_of(ann.inside.site, "/Common/west_out") == known


def test_keys_of_the_peers_administrator(ann: Visitor) -> None:
    page = press(ann, suite="aes128+sha1", **TYPED)
    assert page.status == 200, page.said("alert", "error")
    assert secrets_of(ann.inside.site, "/Common/west_in") == (b"a-key-of-20-letters2", b"sixteen letters!")
    for key in list(TYPED.values())[1:]:
        assert key not in page.text
    typed = page.area("commands")
    assert typed.count("auth-key AUTHENTICATION-KEY") == 2 and typed.count("encrypt-key ENCRYPTION-KEY") == 2


def test_a_typed_key_that_does_not_fit_is_told_at_its_field_and_not_sent_back(ann: Visitor) -> None:
    for action in ("check", "finished", "preview"):
        page = press(ann, action, suite="aes128+sha1", **TYPED | {"in-auth-key": "secret but too short"[:-1]})
        assert "19 characters" in page.text
        assert not any(key in page.text for key in (*list(TYPED.values())[1:], "secret but too shor"))
        assert action == "preview" or list(page.wrong()) == ["in-auth-key"]
    page = press(ann, suite="aes128+sha1", **TYPED | {"out-encrypt-key": ""})
    assert page.status == 400 and list(page.wrong()) == ["out-encrypt-key"]
    assert ann.listed(SA) == {}


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"name": ""}, "name", "missing"),
        ({"name": "<script>"}, "name", "not a good name"),
        ({"local_address": ""}, "local-address", "missing"),
        ({"remote_address": "3.3.3.x"}, "remote-address", "not an IPv4 or IPv6 address"),
        ({"remote_address": "2.2.2.2"}, "remote-address", "both ends"),
        ({"remote_address": "2001:db8::3"}, "remote-address", "family"),
        ({"remote_networks": ""}, "remote-networks", "At least one"),
        ({"remote_networks": "10.2.0.0/33"}, "remote-networks", "prefix length"),
        ({"local_networks": "10.1.0.7/24"}, "local-networks", "10.1.0.0/24"),
        ({"local_networks": "10.1.0.0/24 fd00::/64"}, "local-networks", "no network of its IP version"),
        ({"remote_networks": " ".join(f"10.2.{n}.0/24" for n in range(33))}, "remote-networks", "32 at most"),
        ({"spi_in": "255"}, "spi-in", "256 to 4294967295"),
        ({"spi_out": "4294967296"}, "spi-out", "32 bits"),
        ({"suite": "aes-gcm256"}, "suite", "Choose"),
        ({"suite": "null"}, "suite", "Choose"),
        ({"local_address": "2.2.2.2%7", "remote_address": "3.3.3.3%7"}, "local-address", "route domain"),
    ],
)
def test_what_is_wrong_stands_at_its_field(ann: Visitor, changes: dict[str, str], field: str, words: str) -> None:
    for action in ("check", "finished"):
        page = press(ann, action, **changes)
        assert page.status >= 400
        assert words in page.wrong()[field], page.wrong()
        assert "<script>" not in page.text
    assert ann.listed(SA) == {} and ann.listed("ltm virtual") == {}


def test_an_spi_that_is_taken_is_told_at_its_field(ann: Visitor) -> None:
    press(ann)
    page = press(ann, name="east", spi_in="4002", spi_out="4009", remote_networks="10.7.0.0/16")
    assert list(page.wrong()) == ["spi-in"], (page.wrong(), page.said("alert"))


def test_both_families_in_one_tunnel(ann: Visitor) -> None:
    page = press(ann, local_networks="10.1.0.0/24 fd00:1::/64", remote_networks="10.2.0.0/24, fd00:2::/64")
    assert page.status == 200
    selectors = [name for name in ann.listed("net ipsec traffic-selector") if name.startswith("/Common/west")]
    assert len(selectors) == 4
    assert set(ann.listed("ltm virtual")) == {"/Common/west_forward", "/Common/west_forward6"}
    assert page.area("forward").count("create ltm virtual") == 2


def test_the_form_offers_what_is_here(ann: Visitor) -> None:
    first, second = ann.look(HERE), ann.look(HERE)
    assert "2.2.2.2 (external)" in first.text and "10.1.0.1 (internal)" in first.text
    assert first.area("f-local-networks") == "10.1.0.0/24"
    assert 'value="aes-gcm256"' not in first.text and "counter journal" in first.text
    spis = [page.value(word) for page in (first, second) for word in ("spi-out", "spi-in")]
    assert len(set(spis)) == 4 and all(256 <= int(own) < 2**32 for own in spis)


def test_the_preview_checks_and_makes_nothing(ann: Visitor) -> None:
    page = press(ann, "preview")
    assert "<html" not in page.text and "7 objects" not in page.text and "9 objects" in page.text
    assert "both ends" in press(ann, "preview", remote_address="2.2.2.2").text
    assert ann.listed(SA) == {}


def test_who_may_change_nothing_makes_nothing(ann: Visitor) -> None:
    guy = Visitor(ann.inside, "guy")
    assert 'value="finished"' not in guy.look(HERE).text
    page = press(guy)
    assert page.status == 403 and "guest" in page.said("alert")[0]
    press(ann)
    before = secrets_of(ann.inside.site, "/Common/west_out")
    assert guy.look("/wizard/made/~Common~west", {"spi": "4001"}).status == 403
    assert "Make new keys</button>" not in guy.look("/wizard/made/~Common~west").text
    assert secrets_of(ann.inside.site, "/Common/west_out") == before


def test_pages_that_are_not_there(ann: Visitor) -> None:
    assert ann.look("/wizard/made/~Common~nobody").status == 404
    assert ann.look("/wizard/other").status == 404
