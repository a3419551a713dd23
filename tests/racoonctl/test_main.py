"""racoonctl, typed at a gateway on the plane in memory."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sealing import AUTH_KEY, CIPHER_KEY, SITE_A

from culvert.control import shows
from culvert.racoonctl import layout
from culvert.racoonctl import main as program
from culvert.racoonctl.main import Misuse, main
from tests.control.live import Site


def run(words: list[str], detail: int, site: Site) -> str:
    return "\n".join(program.run(words, detail, site))


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.call("load", text=SITE_A)
    yield made
    made.close()


def test_manual_sas_are_under_esp_and_ipsec(site: Site) -> None:
    told = run(["show-sa", "esp"], 0, site)
    assert told == run(["ss", "ipsec"], 0, site)
    lines = told.splitlines()
    assert lines[0] == "3.3.3.3 2.2.2.2 "
    assert lines[1].startswith("\tesp mode=tunnel spi=1002(0x000003ea) reqid=")
    assert lines[2:4] == ["\tE: aes128", "\tA: sha1"]
    assert "state=mature" in lines[4]
    assert lines[5].startswith("\tcreated: 2023-11-14 22:13:20\tcurrent: ")
    assert AUTH_KEY.strip('"') not in told
    assert CIPHER_KEY.strip('"') not in told


def test_sas_of_several_parts_are_counted_down_to_zero(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shows, "PART_RECORDS", 1)
    assert len(list(program.run(["show-sa", "esp"], 0, site))) == 2
    counted = [line.split()[0] for line in run(["show-sa", "esp"], 0, site).splitlines() if "sadb_seq" in line]
    assert counted == ["sadb_seq=1", "sadb_seq=0"]


def test_nothing_is_under_ah(site: Site) -> None:
    assert run(["show-sa", "ah"], 0, site) == "No SAD entries."


@pytest.mark.parametrize(
    ("detail", "header"),
    [
        (0, "Destination            Cookies                           Created"),
        (1, "Destination            Cookies                           ST S  V E Created             Phase2"),
    ],
)
def test_the_tables_of_ike_are_there_and_empty(site: Site, detail: int, header: str) -> None:
    assert run(["show-sa", "isakmp"], detail, site) == header


def test_more_detail_has_the_source_too(site: Site) -> None:
    words = ["Source", "Destination", "Cookies", "ST", "S", "V", "E", "Created", "Phase2"]
    assert run(["show-sa", "isakmp"], 2, site).split() == words
    assert run(["show-sa", "internal"], 2, site).split() == ["Source", "Destination", "Status", "Side"]


def test_the_rows_of_the_manual() -> None:
    row = {
        "source": "10.100.20.3.500",
        "destination": "165.160.15.20.500",
        "cookies": "98993e6000000000:22c87f1000000000",
        "state": 9,
        "side": "I",
        "version": 0x10,
        "exchange": "M",
        "created": 1340815879.0,
        "phase2": 1,
    }
    assert layout.isakmp([row], 1).splitlines()[1].split() == (
        ["165.160.15.20.500", "98993e6000000000:22c87f1000000000", "9", "I", "10", "M", "2012-06-27", "16:51:19", "1"]
    )
    assert layout.isakmp([row], 0).splitlines()[1].startswith("165.160.15.20.500      98993e6000000000:")
    phase2 = {"source": "10.100.20.3", "destination": "165.160.15.20", "status": "sa established", "side": "R"}
    assert layout.internal([phase2]).splitlines()[1].endswith("sa established   [R]")


def test_flushing_brings_manual_sas_back_at_once(site: Site) -> None:
    assert run(["flush-sa", "isakmp"], 0, site) == ""
    assert "purged" not in site.log
    assert run(["flush-sa", "esp"], 0, site) == ""
    assert site.log.count("purged IPsec-SA") == 2
    assert len(site.call("show", what="net ipsec ipsec-sa")) == 2


def test_deleting_one(site: Site) -> None:
    assert run(["delete-sa", "esp", "inet", "2.2.2.2", "3.3.3.3"], 0, site) == ""
    assert "purged IPsec-SA proto_id=ESP spi=1001." in site.log
    assert site.log.count("purged") == 1
    with pytest.raises(Misuse, match=r"there is no such SA: esp 9\.9\.9\.9 3\.3\.3\.3"):
        run(["ds", "esp", "inet", "9.9.9.9", "3.3.3.3"], 0, site)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["show-sa"], "racoonctl: insufficient arguments"),
        (["show-sa", "esp", "ah"], "racoonctl: insufficient arguments"),
        (["show-sa", "tcp"], "racoonctl: unknown protocol tcp"),
        (["frobnicate"], "Invalid command [frobnicate]"),
        (["delete-sa", "tcp"], "racoonctl: delete-sa wants"),
        (["vpn-connect", "x"], "racoonctl: vpn-connect is of IKE"),
    ],
)
def test_misuse(site: Site, words: list[str], told: str) -> None:
    with pytest.raises(Misuse) as caught:
        run(words, 0, site)
    assert str(caught.value).startswith(told)


def test_the_program(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([]) == 1
    assert capsys.readouterr().err.startswith("usage:\n  racoonctl [opts] show-sa [protocol]")
    assert main(["-x"]) == 1
    assert "invalid option -- 'x'" in capsys.readouterr().err
    assert main(["-ll", "-s", str(tmp_path / "nobody"), "show-sa", "isakmp"]) == 1
    assert "culvertd does not answer" in capsys.readouterr().err
