"""Files of a real system: what is known is carried out, what isn't is kept and written back as it was."""

import subprocess
from pathlib import Path

import pytest

from culvert.tmsh import command, files
from culvert.tmsh.session import Session
from tests.control.live import Site
from tests.fixtures import SAMPLES


def saved(site: Site, directory: Path) -> str:
    target = directory / "saved.scf"
    site.tmsh(f"save sys config file {target}")
    first, text = target.read_text().split("\n", 1)
    assert first.startswith("#TMSH-VERSION: ")
    return text


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.scf")), ids=lambda path: path.stem)
def test_a_sample_loads_and_saves_to_itself(sample: Path, tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert site.tmsh(f"load sys config file {sample}").splitlines()[0] == "Loading configuration..."
    once = saved(site, tmp_path)
    # Every stanza and every property of the sample is there again, in its place, whether Culvert knows it or not.
    assert once.splitlines() == sample.read_text().splitlines()[2:]
    site.tmsh(f"load sys config file {tmp_path / 'saved.scf'}")
    assert saved(site, tmp_path) == once
    assert site.tmsh("list")
    site.close()


def test_foreign_stanzas_are_listed_as_such_and_told_about(site: Site, tmp_path: Path) -> None:
    told = site.tmsh(f"load sys config merge file {SAMPLES / 'balancer.scf'}")
    assert "There were warnings:" in told
    assert "ltm pool (/Common/web): kept, without effect" in told
    assert "VLAN (/Common/dmz): kept, without effect: failsafe, sflow" in told
    assert site.tmsh("list ltm pool").splitlines()[0] == "# kept as it was loaded, without effect:"
    assert site.tmsh("list").count("# kept as it was loaded") == 5
    rule = site.tmsh("list ltm rule")
    assert 'a quote " that stands alone' in rule
    assert "failsafe enabled" in site.tmsh("list net vlan dmz")
    assert site.tmsh("delete ltm pool web") == ""
    assert "ltm pool" not in saved(site, tmp_path)


def test_what_is_kept_is_listed_without_its_keys(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "keys.scf"
    path.write_text(
        'auth radius-server /Common/r {\n    secret "open sesame"\n    server 192.0.2.9\n}\n'
        "auth user ann {\n    password sesame-sesame\n    partition-access {\n        all-partitions {\n"
        "            role guest\n        }\n    }\n}\n"
    )
    assert "sesame" not in site.tmsh(f"load sys config merge file {path}")
    for line in ("list auth radius-server", "list auth user ann", "list auth", "list", "list json"):
        told = site.tmsh(line)
        assert "sesame" not in told
        assert "********" in told
    assert "sesame" not in site.log
    assert 'secret "open sesame"' in saved(site, tmp_path)
    assert "encrypted-password $argon2id$" in saved(site, tmp_path) and "sesame-" not in saved(site, tmp_path)


def test_stanzas_stand_where_the_vendor_has_them(tmp_path: Path) -> None:
    site = Site(tmp_path)
    for sample in ("balancer", "two-tunnels"):
        site.tmsh(f"load sys config merge file {SAMPLES / sample}.scf")
    heads = [line.split(" /")[0] for line in saved(site, tmp_path).splitlines() if line and line[0].islower()]
    kinds = list(dict.fromkeys(" ".join(head.split()[:3]) for head in heads if head.startswith("net")))
    assert kinds == [
        *("net interface 1.1", "net route", "net route-domain", "net self", "net self-allow {", "net stp", "net vlan"),
        *("net fdb tunnel", "net fdb vlan", "net ipsec ike-daemon", "net ipsec ike-peer", "net ipsec ipsec-policy"),
        *("net ipsec traffic-selector", "net tunnels tunnel"),
    ]
    modules = [head.split()[0] for head in heads]
    assert modules == sorted(modules)
    site.close()


def test_a_default_that_is_changed_and_taken_back_is_written_no_more(tmp_path: Path) -> None:
    site = Site(tmp_path)
    (tmp_path / "f.scf").write_text("net vlan /Common/v {\n    description none\n    mtu 1500\n}\n")
    site.tmsh(f"load sys config file {tmp_path / 'f.scf'}")
    assert "mtu" not in site.tmsh("list net vlan v")
    assert "    description none\n    mtu 1500\n" in saved(site, tmp_path)
    site.type("modify net vlan v mtu 1400", "modify net vlan v mtu 1500", "mv net vlan v w")
    assert "net vlan /Common/w {\n    description none\n    tag 4094\n}\n" in saved(site, tmp_path)
    site.close()


def test_a_warning_names_what_is_kept(tmp_path: Path) -> None:
    site = Site(tmp_path)
    pools = "".join(f"ltm pool /Common/p{number:02} {{ }}\n" for number in range(12))
    (tmp_path / "f.scf").write_text(f"{pools}net packet-filter-trusted {{\n    vlans {{\n        v\n    }}\n}}\n")
    told = site.tmsh(f"load sys config file {tmp_path / 'f.scf'}").splitlines()
    assert told[-2].startswith("ltm pool (/Common/p00, /Common/p01, ")
    assert told[-2].endswith(" /Common/p09 and 2 more): kept, without effect")
    assert told[-1] == "net packet-filter-trusted: kept, without effect"
    site.close()


def test_what_of_ipsec_is_not_understood_is_an_error(site: Site, tmp_path: Path) -> None:
    before = site.call("text")
    for stanza, told in (
        ("net ipsec ike-peer /Common/p {\n    remote-address 192.0.2.2\n}\n", 'unexpected argument "ike-peer"'),
        ("net ipsec ipsec-policy /Common/p {\n    novelty yes\n}\n", '"novelty" unknown property'),
        ("net ipsec novelty /Common/p { }\n", 'unexpected argument "novelty"'),
    ):
        path = tmp_path / "bad.scf"
        path.write_text(stanza)
        assert told in site.type(f"load sys config merge file {path}")[0]
    assert site.call("text") == before


def test_verify_tells_every_error_with_its_place_and_changes_nothing(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "bad.scf"
    path.write_text(
        "net ipsec ipsec-policy /Common/p {\n    mode sideways\n    protocol ip\n}\n"
        "net self /Common/s {\n    address x\n}\n"
    )
    before = site.call("text")
    (told,) = site.type(f"load sys config verify merge file {path}")
    assert told.startswith("01070734:3: Configuration error: line 2, column 5: IPsec policy (/Common/p): mode:")
    assert "line 3, column 5" in told
    assert "line 6, column 5" in told
    assert site.call("text") == before


def test_a_replaced_configuration_is_kept(site: Site, tmp_path: Path) -> None:
    before = site.call("text")
    told = site.tmsh(f"load sys config file {SAMPLES / 'balancer.scf'}")
    number = int(told.rpartition("generation ")[2].split("\n")[0])
    assert site.call("text", generation=number) == before
    assert site.call("text") != before


def test_partitions_and_folders_may_come_in_any_order(tmp_path: Path) -> None:
    site = Site(tmp_path)
    path = tmp_path / "f.scf"
    path.write_text(
        "net ipsec ipsec-policy /S1/deep/p { }\nsys folder /S1/deep/er { }\n"
        "sys folder /S1/deep { }\nauth partition S1 { }\n"
    )
    site.tmsh(f"load sys config file {path}")
    assert {"/S1/deep/p"} <= {own["name"] for own in site.call("list", kind="net ipsec ipsec-policy")}
    site.close()


def test_an_edit_is_laid_over_the_configuration(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "sed -i s/tunnel-remote-address.*/&\\ndescription\\tedited/")
    assert site.tmsh("edit net ipsec ipsec-policy pol-out") == ""
    assert "description edited" in site.tmsh("list net ipsec ipsec-policy pol-out")
    monkeypatch.setenv("EDITOR", "true")
    assert site.tmsh("edit net ipsec ipsec-policy pol-out") == "nothing was changed"
    monkeypatch.setenv("EDITOR", "no-such-editor")
    assert "can't be started" in site.type("edit net ipsec ipsec-policy pol-out")[0]


def test_an_edit_asks_first_and_uses_the_preferred_editor(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDITOR", raising=False)
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (tmp_path / "nano").write_text("#!/bin/sh\nsed -i 's/mode tunnel/&\\n    description edited/' \"$1\"\n")
    (tmp_path / "nano").chmod(0o755)
    session = Session(site)
    command.run("modify cli preference editor nano", session)
    session.begin()
    session.confirm = lambda question: False
    assert command.run("edit net ipsec ipsec-policy pol-out", session) == "nothing was changed"
    command.run("modify cli preference confirm-edit disabled", session)
    session.look()
    assert command.run("edit net ipsec ipsec-policy pol-out", session) == ""
    assert "description edited" in site.tmsh("list net ipsec ipsec-policy pol-out")


def test_a_bare_name_is_looked_for_among_the_scfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SCF_DIRECTORY", tmp_path)
    assert files.scf_path("backup.scf") == tmp_path / "backup.scf"
    assert files.scf_path("./backup.scf") == Path("backup.scf")


@pytest.mark.parametrize("text", ["ltm pool /Common/a\0b { }", "ltm pool /Common/w {\n a \0 }"])
def test_a_nul_in_a_foreign_stanza_is_refused(site: Site, text: str) -> None:
    assert "a NUL character is not allowed" in site.refused("load", text=text, merge=True).text


@pytest.mark.parametrize("octet", ["ltm pool /Common/\udcff { }", "net vlan v { strange \udcff }"])
def test_an_octet_that_is_no_character_is_refused(site: Site, octet: str) -> None:
    """It came in by a program's arguments, was kept, and from then on nothing could be saved."""
    assert "line 1, column" in site.refused("load", text=octet, merge=True).text
    assert "not UTF-8" in site.type('modify cli preference prompt "\udcff"')[0]
    path = {"verb": "modify", "kind": "cli preference", "properties": {"prompt": ["\udcff"]}}
    assert "\udcff" in site.refused("transaction", operations=[path]).text
    assert "Saving" in site.tmsh("save sys config")


@pytest.mark.parametrize("verb", ["save", "load"])
def test_a_name_that_is_too_long_is_told(site: Site, verb: str) -> None:
    """It came to an OSError."""
    assert "File name too long" in site.type(f"{verb} sys config file {'a' * 300}")[0]


@pytest.mark.parametrize("words", ["partitions all", "partitions { Common }", "partitions Common no-passphrase"])
def test_options_of_save(site: Site, tmp_path: Path, words: str) -> None:
    assert site.tmsh(f"save sys config {words}").splitlines()[0] == "Saving running configuration..."
    assert site.tmsh(f"save sys config file {tmp_path / 'x.scf'} {words}").endswith("x.scf")
    assert site.type("save sys config partitions { Common nowhere }") == [
        "01020036:3: The requested folder (/nowhere) was not found."
    ]


def test_saved_files_are_private(site: Site, tmp_path: Path) -> None:
    (tmp_path / "saved.scf").touch(mode=0o644)
    saved(site, tmp_path)
    assert (tmp_path / "saved.scf").stat().st_mode & 0o077 == 0
    assert (
        subprocess.run(["grep", "-cF", "$M$", tmp_path / "saved.scf"], check=True, capture_output=True).stdout == b"4\n"
    )


def test_a_plain_load_keeps_what_was_not_saved(site: Site) -> None:
    site.type("save sys config", "create net ipsec ipsec-policy unsaved")
    told = site.tmsh("load sys config")
    (kept,) = [line for line in told.splitlines() if "the configuration before this one is kept" in line]
    assert "/Common/unsaved" in site.call("text", generation=int(kept.rsplit(" ", 1)[1]))
    assert "is kept" not in site.tmsh("load sys config"), "what runs is what is saved"


def test_a_new_systems_configuration_is_asked_for_twice(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before = site.call("text")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    assert site.tmsh("load sys config default") == "nothing was changed"
    assert site.call("text") == before
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert "the configuration of a new system" in site.tmsh("load sys config default")
    assert "/Common/pol-out" not in site.call("text")


@pytest.mark.parametrize("name", ["all", "none", "/Common/all"])
def test_no_object_is_called_like_a_word_for_several(site: Site, name: str) -> None:
    (told,) = site.type(f"create net ipsec ipsec-policy {name}")
    assert f'"{name.rpartition("/")[2]}" is no name' in told


def test_a_damaged_configuration_is_not_saved_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "culvert.conf").write_text("net nonsense {")
    site = Site(tmp_path)
    (told,) = site.type(f"save sys config file {tmp_path / 'copy.scf'}")
    assert "load a configuration first" in told
    assert not (tmp_path / "copy.scf").exists()
    site.close()
