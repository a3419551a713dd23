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
    # Every stanza and every property of the sample is there again, whether Culvert knows it or not.
    given = [line.strip() for line in sample.read_text().splitlines() if not line.startswith("#TMSH")]
    # A default needn't be written, nor an object that every system has.
    implied = {"", "description none", 'description "Tunnel for http-explicit profile"', "profile /Common/tcp-forward"}
    implied.add("net tunnels tunnel /Common/http-tunnel {")
    assert sorted(set(given) - implied - {line.strip() for line in once.splitlines()}) == []
    site.tmsh(f"load sys config file {tmp_path / 'saved.scf'}")
    assert saved(site, tmp_path) == once
    assert site.tmsh("list")
    site.close()


def test_foreign_stanzas_are_listed_as_such_and_told_about(site: Site, tmp_path: Path) -> None:
    told = site.tmsh(f"load sys config merge file {SAMPLES / 'balancer.scf'}")
    assert "There were warnings:" in told
    assert "1 x ltm pool: kept, without effect" in told
    assert "VLAN (/Common/dmz): kept, without effect: failsafe, sflow" in told
    assert site.tmsh("list ltm pool").splitlines()[0] == "# kept as it was loaded, without effect:"
    assert site.tmsh("list foreign").count("# kept as it was loaded") == 5
    rule = site.tmsh("list ltm rule")
    assert 'a quote " that stands alone' in rule
    assert "failsafe enabled" in site.tmsh("list net vlan dmz")
    assert site.tmsh('delete foreign "ltm pool /Common/web"') == ""
    assert "ltm pool" not in saved(site, tmp_path)


def test_stanzas_stand_where_they_belong(site: Site, tmp_path: Path) -> None:
    site.tmsh(f"load sys config merge file {SAMPLES / 'balancer.scf'}")
    heads = [line.split(" /")[0] for line in saved(site, tmp_path).splitlines() if line and line[0].islower()]
    assert heads == sorted(heads)
    assert heads.index("ltm pool") < heads.index("net vlan")


def test_what_of_ipsec_is_not_understood_is_an_error(site: Site, tmp_path: Path) -> None:
    before = site.call("text")
    for stanza, told in (
        ("net ipsec ike-peer /Common/p {\n    remote-address 192.0.2.2\n}\n", 'unexpected argument "net"'),
        ("net ipsec ipsec-policy /Common/p {\n    novelty yes\n}\n", '"novelty" unknown property'),
        ("net ipsec novelty /Common/p { }\n", 'unexpected argument "net"'),
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


@pytest.mark.parametrize("words", ["partitions all", "partitions { Common }", "partitions Common no-passphrase"])
def test_options_of_save(site: Site, tmp_path: Path, words: str) -> None:
    assert site.tmsh(f"save sys config {words}").splitlines()[0] == "Saving running configuration..."
    assert site.tmsh(f"save sys config file {tmp_path / 'x.scf'} {words}").endswith("x.scf")
    assert site.type("save sys config partitions { Common nowhere }") == [
        "01020036:3: The requested folder (/nowhere) was not found."
    ]


def test_saved_files_are_private(site: Site, tmp_path: Path) -> None:
    saved(site, tmp_path)
    assert (tmp_path / "saved.scf").stat().st_mode & 0o077 == 0
    assert (
        subprocess.run(["grep", "-cF", "$M$", tmp_path / "saved.scf"], check=True, capture_output=True).stdout == b"4\n"
    )
