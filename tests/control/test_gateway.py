"""The live gateway over the plane in memory: every call, every error, and nothing half-applied."""

import logging
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP
from sealing import SITE_A

from culvert.change import AddForwarder, AddLink, Change
from culvert.control.errors import ControlError
from culvert.dataplane.memory import MemoryPlane
from culvert.dataplane.plane import Features, JournalState, PlaneError
from culvert.ipsec.drops import Reason
from culvert.ipsec.verdict import Drop
from culvert.lab import keys
from culvert.lab.sites import SITES, lines
from culvert.tmsh import command
from culvert.tmsh.session import Session
from tests.control.live import ME, NOW, Site


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.call("load", text=SITE_A)
    yield made
    made.close()


def test_a_fresh_system_has_what_is_shipped(tmp_path: Path) -> None:
    made = Site(tmp_path)
    assert made.trouble == ""
    names = {own["name"] for own in made.call("list", kind="net ipsec")}
    assert names == {
        "/Common/ikedaemon",
        "/Common/default-ipsec-policy",
        "/Common/default-ipsec-policy-interface",
        "/Common/default-ipsec-policy-isession",
        "/Common/default-traffic-selector-interface",
    }
    made.publisher.close()


def test_sas_are_installed_logged_and_shown(site: Site) -> None:
    records = site.call("show", what="net ipsec ipsec-sa")
    assert [(own["name"], own["spi"], own["direction"], own["state"]) for own in records] == [
        ("/Common/sa-in", 1002, "in", "mature"),
        ("/Common/sa-out", 1001, "out", "mature"),
    ]
    assert "INFO: IPsec-SA established: ESP/Tunnel 2.2.2.2[0]->3.3.3.3[0] spi=1001(0x3e9)" in site.log


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"spi": "1001"}, ["/Common/sa-out"]),
        ({"spi": "0x3ea"}, ["/Common/sa-in"]),
        ({"src-addr": "3.3.3.3"}, ["/Common/sa-in"]),
        ({"dst-addr": "3.3.3.3"}, ["/Common/sa-out"]),
        ({"traffic-selector": "ts-in"}, ["/Common/sa-in"]),
        ({"spi": "77"}, []),
        ({"route-domain": "0", "spi": "1001"}, ["/Common/sa-out"]),
        ({"route-domain": "1"}, []),
    ],
)
def test_filters(site: Site, filters: dict[str, str], names: list[str]) -> None:
    assert [own["name"] for own in site.call("show", what="net ipsec ipsec-sa", filters=filters)] == names


def test_chosen_words_are_those_of_the_whole_answer(site: Site) -> None:
    listed = {"kind": "net ipsec", "folder": "/", "recursive": True}
    words = ["spi", "ipsec-policy", "no-such-word"]
    cut = [
        own | {"properties": {word: value for word, value in own["properties"].items() if word in words}}
        for own in site.call("list", **listed)
    ]
    assert site.call("list", **listed, select=words) == cut
    assert any(own["properties"] for own in cut)
    shown = {"what": "net ipsec ipsec-sa", "filters": {}}
    site.call("reset-stats", what="net ipsec ipsec-sa")
    for words in (["drops", "name"], ["packets"], ["hard_lifetime", "no-such-word"], []):
        cut = [{word: own[word] for word in words if word in own} for own in site.call("show", **shown)]
        assert cut and site.call("show", **shown, select=words) == cut
    parts = [part.records for part in site.stream("show", **shown, select=["spi"])]
    assert [own for part in parts for own in part] == site.call("show", **shown, select=["spi"])
    assert all("properties" in own and not own["properties"] for own in site.call("list", kind="net", select=[]))
    for wrong in ("name", 7, [7], [["name"]], {"name": 1}, ["name"] * 201):
        assert "select" in site.refused("list", **listed, select=wrong).text
        assert "select" in site.refused("show", **shown, select=wrong).text


def test_bad_filters(site: Site) -> None:
    assert "is not allowed for spi" in site.refused("show", what="net ipsec ipsec-sa", filters={"spi": "x"}).text
    missing = site.refused("show", what="net ipsec ipsec-sa", filters={"traffic-selector": "nobody"})
    assert missing.text == "01020036:3: The requested IPsec traffic selector (/Common/nobody) was not found."
    assert site.refused("show", what="net ipsec traffic-selector", filters={"names": ["nobody"]}).text == missing.text


def test_vendor_errors(site: Site) -> None:
    kind = "net ipsec ipsec-policy"
    exists = site.refused("create", kind=kind, name="pol-out", properties={})
    assert exists.text == "01020066:3: The requested IPsec policy (/Common/pol-out) already exists in partition Common."
    missing = site.refused("modify", kind=kind, names=["nobody"], properties={"mode": "tunnel"})
    assert missing.text == "01020036:3: The requested IPsec policy (/Common/nobody) was not found."
    used = site.refused("delete", kind=kind, names=["pol-out"])
    assert used.text == (
        "01070265:3: The IPsec policy (/Common/pol-out) cannot be deleted because it is in use by a "
        "IPsec manual security association (/Common/sa-out)."
    )
    selector = {"source-address": "10.1.0.0/24", "destination-address": "10.2.0.0/24", "ipsec-policy": "nobody"}
    unnamed = site.refused("create", kind="net ipsec traffic-selector", name="t", properties=selector)
    assert (unnamed.text, unnamed.http) == (missing.text, 404)
    wrong = site.refused("modify", kind=kind, names=["pol-out"], properties={"mode": "sideways"})
    assert wrong.text.startswith("01070734:3: Configuration error: IPsec policy (/Common/pol-out): mode:")
    assert site.refused("list", kind="net ipsec colour").text == 'Syntax Error: unexpected argument "colour"'
    assert site.refused("list", kind="net ipsec ipsec-policy p").text == 'Syntax Error: unexpected argument "p"'
    assert site.refused("nonsense").text == 'Syntax Error: unknown call "nonsense"'
    assert site.refused("modify", kind=kind, names=["pol-out"], properties={}).http == 400


@pytest.mark.parametrize(
    ("verb", "item", "told"),
    [
        (
            "add",
            "local-syslog",
            "01020066:3: The requested log destination (/Common/default-ipsec-log-publisher /Common/local-syslog) "
            "already exists in partition Common.",
        ),
        (
            "delete",
            "nobody",
            "01020036:3: The requested log destination (/Common/default-ipsec-log-publisher /Common/nobody) "
            "was not found.",
        ),
        ("add", "nobody", "01020036:3: The requested log destination (/Common/nobody) was not found."),
    ],
)
def test_vendor_errors_about_items_of_lists(site: Site, verb: str, item: str, told: str) -> None:
    kind, name = "sys log-config publisher", "default-ipsec-log-publisher"
    edit = {"destinations": {"verb": verb, "items": [item]}}
    assert site.refused("modify", kind=kind, names=[name], properties=edit).text == told


def test_a_self_ip_on_nothing_is_told_of_nothing_else(site: Site) -> None:
    own = {"address": "4.4.4.4/24", "vlan": "nobody"}
    told = site.refused("create", kind="net self", name="s", properties=own).text
    assert told == "01020036:3: The requested VLAN (/Common/nobody) was not found."
    tunnel = site.refused("create", kind="net self", name="s", properties=own | {"vlan": "http-tunnel"}).text
    assert tunnel.endswith("/Common/http-tunnel is a tunnel; a self IP stands on a VLAN here")


def test_a_transaction_is_all_or_nothing(site: Site) -> None:
    before = site.call("text")
    site.refused(
        "transaction",
        operations=[
            {"verb": "create", "kind": "net vlan", "name": "spare", "properties": {}},
            {"verb": "delete", "kind": "net vlan", "names": ["nobody"]},
        ],
    )
    assert site.call("text") == before


def test_what_the_plane_refuses_is_undone(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before, running = site.call("text"), site.plane.usage()
    step = site.plane._step

    def failing(change: Change) -> None:
        if isinstance(change, AddForwarder) and change.forwarder.label == "/Common/more":
            raise PlaneError(change, "no room for more")
        step(change)

    monkeypatch.setattr(site.plane, "_step", failing)
    raw = {"destination": "10.9.0.0/24:any", "ip-forward": True}
    refused = site.refused(
        "transaction",
        operations=[
            {"verb": "modify", "kind": "net ipsec traffic-selector", "names": ["ts-out"], "properties": {"order": "7"}},
            {"verb": "create", "kind": "ltm virtual", "name": "more", "properties": raw},
        ],
    )
    assert refused.text == "01070734:3: Configuration error: no room for more"
    assert site.call("text") == before
    assert site.plane.usage() == running


def test_save_restart_same_configuration(site: Site) -> None:
    saved = site.call("save")
    listed = [own | {"generation": 0} for own in site.call("list")]
    site.call("modify", kind="sys global-settings", names=[""], properties={"hostname": "other.example"})
    again = Site(site.directory)
    assert again.trouble == ""
    # Generations count the changes since a start.
    assert [own | {"generation": 0} for own in again.call("list")] == listed
    assert [own["number"] for own in again.call("generations")] == [saved["generation"]]
    again.publisher.close()


def test_a_damaged_saved_file_is_told_and_nothing_runs_from_it(tmp_path: Path) -> None:
    (tmp_path / "culvert.conf").write_text("net ipsec ipsec-policy p {\n  nonsense 1\n}\n")
    made = Site(tmp_path)
    assert "line 2, column 3" in made.trouble
    assert made.plane.usage() == []
    assert (tmp_path / "culvert.conf").read_text().startswith("net ipsec ipsec-policy p {")
    assert "load a configuration first" in made.refused("save").text
    assert "load a configuration first" in made.refused("create", kind="net vlan", name="x", properties={}).text
    assert made.trouble in made.call("show", what="sys version")[0]["notes"]
    made.call("load", text="net vlan v { }")
    made.call("save")
    assert made.call("show", what="sys version")[0]["notes"] == []
    made.publisher.close()


def test_a_key_that_cannot_be_unsealed_leaves_the_selectors_guarded(site: Site) -> None:
    site.call("save")
    (site.directory / "master.key").unlink()
    again = Site(site.directory)
    assert "another system's master key" in again.trouble
    inner = IP(src="10.1.0.10", dst="10.2.0.10") / ICMP()
    verdict = again.plane.outbound(bytes(inner), NOW)
    assert isinstance(verdict, Drop)
    assert verdict.reason is Reason.NO_SA_OUT
    again.publisher.close()


def test_changes_while_waiting_for_the_host_keep_the_guard_and_are_saved(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.call("save")
    step = MemoryPlane._step

    def failing(plane: MemoryPlane, change: Change) -> None:
        if isinstance(change, AddLink):
            raise PlaneError(change, f"link {change.link.name} does not exist")
        step(plane, change)

    monkeypatch.setattr(MemoryPlane, "_step", failing)
    again = Site(site.directory)
    again.call("modify", kind="net ipsec ike-daemon", names=["ikedaemon"], properties={"log-level": "debug"})
    assert {own.sa.label for own in again.plane.usage()} == {"/Common/sa-in", "/Common/sa-out"}
    assert "link wan0 does not exist" in again.call("show", what="sys version")[0]["notes"][0]
    again.call("save")
    saved = (site.directory / "culvert.conf").read_text()
    assert "log-level debug" in saved
    assert "/Common/sa-out" in saved
    again.publisher.close()


def test_a_selector_that_no_mode_serves_still_protects(site: Site) -> None:
    site.call("create", kind="net ipsec ipsec-policy", name="later", properties={"mode": "interface"})
    raw = {"source-address": "10.1.0.0/24", "destination-address": "172.16.0.0/16", "direction": "out"}
    site.call("create", kind="net ipsec traffic-selector", name="t", properties=raw | {"ipsec-policy": "later"})
    verdict = site.plane.outbound(bytes(IP(src="10.1.0.10", dst="172.16.0.1") / ICMP()), NOW)
    assert isinstance(verdict, Drop)


def test_a_direction_against_the_self_ips_is_refused(site: Site) -> None:
    refused = site.refused(
        "modify", kind="net ipsec traffic-selector", names=["ts-out"], properties={"direction": "in"}
    )
    assert "in contradicts the manual security association /Common/sa-out" in refused.text


def test_a_host_that_is_not_ready_is_guarded_and_tried_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.call("save")
    saved = site.call("text")
    step = MemoryPlane._step
    missing = True

    def failing(plane: MemoryPlane, change: Change) -> None:
        if missing and isinstance(change, AddLink):
            raise PlaneError(change, f"link {change.link.name} does not exist")
        step(plane, change)

    monkeypatch.setattr(MemoryPlane, "_step", failing)
    again = Site(site.directory)
    assert again.trouble == "the saved configuration can't run yet: link wan0 does not exist"
    assert {own.sa.label for own in again.plane.usage()} == {"/Common/sa-in", "/Common/sa-out"}
    assert again.plane.forwarder_stats() == []
    again.gateway.tick(NOW + 5)
    assert again.plane.forwarder_stats() == []
    missing = False
    again.gateway.tick(NOW + 10)
    assert [own.label for own in again.plane.forwarder_stats()] == ["/Common/forward"]
    assert again.call("text") == saved
    again.publisher.close()


def test_verify_changes_nothing(site: Site) -> None:
    before = site.call("text")
    site.call("load", text="net vlan other { }", verify=True)
    bad = site.refused("load", text="net vlan other {\n  tag 9999\n}", verify=True)
    assert (bad.line, bad.column) == (2, 3)
    assert site.call("text") == before


def test_merge_lays_over_and_load_replaces(site: Site) -> None:
    site.call("load", text="net vlan other { }", merge=True)
    assert {"/Common/other", "/Common/external"} <= {own["name"] for own in site.call("list", kind="net vlan")}
    site.call("load", text="net vlan other { }")
    assert [own["name"] for own in site.call("list", kind="net vlan")] == ["/Common/other"]
    assert site.plane.usage() == []


def test_deleting_sas_reinstalls_them_with_their_counters(site: Site) -> None:
    site.plane._sequences = {}
    assert site.call("delete-sas", filters={"spi": "1001"}) == {"reinstalled": 1}
    assert len(site.plane.usage()) == 2
    assert "purged IPsec-SA proto_id=ESP spi=1001." in site.log


def test_the_log_level_touches_no_sa(site: Site) -> None:
    running = site.plane.usage()
    site.call("modify", kind="net ipsec ike-daemon", names=["ikedaemon"], properties={"log-level": "error"})
    lines = site.log
    site.call("delete-sas", filters={})
    assert site.log == lines
    assert [own.sa for own in site.plane.usage()] == [own.sa for own in running]


def test_no_key_octet_in_any_answer_or_log(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    site.call("save")
    site.call(
        "modify", kind="net ipsec manual-security-association", names=["sa-out"], properties={"auth-key": "q" * 20}
    )
    site.refused(
        "modify", kind="net ipsec manual-security-association", names=["sa-out"], properties={"auth-key": "q" * 21}
    )
    said = [str(site.call("list")), str(site.call("show", what="net ipsec ipsec-sa")), site.call("text"), site.log]
    said += [caplog.text, repr(site.plane.usage()), (site.directory / "culvert.conf").read_text()]
    for text in said:
        assert "q" * 20 not in text
        assert "a" * 20 not in text
        assert "00112233445566778899aabbccddeeff" not in text.lower()


def test_what_happened_to_the_packet_process_is_shown(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryPlane, "tick", lambda self, now: ["the packet process was ended by signal 9"])
    site.gateway.tick(NOW + 1)
    (tmm,) = site.call("show", what="sys tmm-info")
    assert (tmm["state"], tmm["process"]) == ("running", os.getpid())
    assert tmm["events"] == [{"when": NOW + 1, "what": "the packet process was ended by signal 9"}]


def test_how_the_counter_journal_does_is_shown(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmm,) = site.call("show", what="sys tmm-info")
    assert tmm["journal"] is None
    full = JournalState("/state/leases", "no space is left on the disk", NOW - 60, ("/Common/sa-out",))
    monkeypatch.setattr(MemoryPlane, "counter_journal", lambda self: full)
    (tmm,) = site.call("show", what="sys tmm-info")
    assert tmm["journal"] == {
        "path": "/state/leases",
        "writable": False,
        "trouble": "no space is left on the disk",
        "written": NOW - 60,
        "short": ["/Common/sa-out"],
        "doubt": "",
    }


class Doubtful(MemoryPlane):
    """With a counter journal of which somebody has to say that it is right."""

    features = Features(
        engine="python",
        workers=1,
        vlan_tagging=True,
        counter_journal=True,
        journal_doubt="the clock was 9 seconds behind",
    )

    def trust_counter_journal(self) -> None:
        self.features = replace(self.features, journal_doubt="")


def test_a_journal_in_doubt_stops_counter_modes_only_where_that_was_chosen(tmp_path: Path) -> None:
    site = Site(tmp_path, Doubtful(random=os.urandom, clock=lambda: NOW))
    site.call("load", text=SITE_A)
    properties = {"encrypt-algorithm": "aes-gcm128", "auth-algorithm": "none", "auth-key": "none"}
    properties["encrypt-key"] = "0x" + bytes(range(20)).hex()
    site.call("modify", kind="net ipsec manual-security-association", names=["sa-out"], properties=properties)

    def running() -> set[str]:
        return {own["name"] for own in site.call("show", what="net ipsec ipsec-sa")}

    assert running() == {"/Common/sa-in", "/Common/sa-out"}
    site.tmsh("modify sys global-settings counter-journal-set-back refuse")
    assert running() == {"/Common/sa-in"}
    (version,) = site.call("show", what="sys version")
    (note,) = version["notes"]
    assert note.startswith("manual security association /Common/sa-out waits: the clock was 9 seconds behind, ")
    assert note.endswith("then say: run sys counter-journal trust")
    assert site.tmsh("run sys counter-journal trust") == "trusted from now on, though the clock was 9 seconds behind"
    assert running() == {"/Common/sa-in", "/Common/sa-out"}
    assert "root trusts the counter journal again, though the clock was 9 seconds behind" in site.log
    assert site.tmsh("run sys counter-journal trust") == "the counter journal is not in doubt"
    for line in ("run", "run sys counter-journal", "run sys counter-journal trust me", "run util nonsense"):
        with pytest.raises(ControlError):
            site.tmsh(line)
    site.publisher.close()


def test_counter_modes_are_refused_while_no_journal_keeps_the_counters(site: Site) -> None:
    properties = {"encrypt-algorithm": "aes-gcm128", "auth-algorithm": "none", "auth-key": "none"}
    properties["encrypt-key"] = "0x" + bytes(range(20)).hex()
    refused = site.refused(
        "modify", kind="net ipsec manual-security-association", names=["sa-out"], properties=properties
    )
    assert "(/Common/sa-out): encrypt-algorithm: aes-gcm128 needs a send counter that is never used twice" in str(
        refused
    )
    assert "RFC 8221 section 3" in str(refused)
    assert {own["encryption"] for own in site.call("show", what="net ipsec ipsec-sa")} == {"aes128"}


def test_what_is_unwise_is_told_and_done(site: Site) -> None:
    properties = {"auth-algorithm": "md5", "auth-key": "sixteen octets!!"}
    answer = site.call("modify", kind="net ipsec manual-security-association", names=["sa-out"], properties=properties)
    (warning,) = [each for each in answer["warnings"] if "md5" in each]
    assert warning == (
        "IPsec manual security association (/Common/sa-out): auth-algorithm: "
        "md5 MUST NOT be used any more: MD5 is broken (RFC 8221 section 6)"
    )
    assert "sixteen" not in str(answer)
    assert warning in site.log
    assert {own["authentication"] for own in site.call("show", what="net ipsec ipsec-sa")} == {"md5", "sha1"}


def test_every_show_answers(site: Site) -> None:
    for what in (
        "net ipsec ike-sa",
        "net ipsec-stat",
        "net ipsec drops",
        "net interface",
        "ltm virtual",
        "sys version",
    ):
        assert isinstance(site.call("show", what=what), list)
    assert site.refused("show", what="nonsense").http == 400


@pytest.mark.parametrize("name", ["a", "b"])
def test_the_lab_is_configured_by_tmsh_lines(tmp_path: Path, name: str) -> None:
    made = Site(tmp_path)

    class Door:
        def call(self, name: str, /, **args: object) -> Any:
            return made.gateway.call(name, args, ME)

    for line in lines(SITES[name], keys.fresh()):
        assert command.run(line.text, Session(Door())) == ""
    assert len(made.plane.usage()) == 4
    assert command.run("show net ipsec ipsec-sa", Session(Door())).endswith("Total records returned: 4")
    assert "selector-out" in command.run("list net ipsec traffic-selector", Session(Door()))
    assert command.run("list net self external-self address", Session(Door())).startswith(
        "net self external-self {\n    address"
    )
    made.publisher.close()


def test_replace_gives_every_other_property_its_default(site: Site) -> None:
    operation = {
        "verb": "replace",
        "kind": "net ipsec manual-security-association",
        "names": ["sa-out"],
        "properties": {"description": "replaced"},
    }
    site.tmsh("modify net ipsec manual-security-association sa-out replay-window-size 128")
    before = site.call("list", kind="net ipsec manual-security-association", names=["sa-out"])[0]["properties"]
    site.call("transaction", operations=[operation])
    after = site.call("list", kind="net ipsec manual-security-association", names=["sa-out"])[0]["properties"]
    # What has no default, and the keys that nobody is shown, stay.
    for word in ("spi", "source-address", "destination-address", "ipsec-policy", "auth-key"):
        assert after[word] == before[word]
    assert after["description"] == "replaced" and after["replay-window-size"] != before["replay-window-size"]
