"""Stanzas that are kept without effect: listed and deleted like anything else, and never changed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from culvert.tmsh import completion
from culvert.tmsh.session import Session
from tests.control.live import Site

KEPT = """auth partition P1 { }
ltm monitor http /Common/deep {
    send "GET /\\r\\n"
}
ltm pool /Common/p1 {
    members {
        /Common/10.0.0.1:80 {
            address 10.0.0.1
        }
    }
    description "two words"
}
ltm pool /Common/p2 { }
ltm pool /P1/p3 { }
ltm rule /Common/r {
when HTTP_REQUEST { }
}
ltm virtual /Common/forward {
    destination /Common/0.0.0.0:0
    ip-forward
    mask any
}
ltm virtual /Common/web {
    destination /Common/192.0.2.80:80
    pool /Common/p1
}
net packet-filter-trusted {
    defaults {
        tcp:22
    }
}
net ipsec ike-peer /Common/pp {
    remote-address 192.0.2.9
    state disabled
}
"""
STRANGE = "# kept as it was loaded, without effect:\n"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.call("load", text=KEPT)
    yield made
    made.close()


def heads(told: str) -> list[str]:
    return [line.removesuffix(" {").removesuffix(" { }") for line in told.splitlines() if line[:4] in ("ltm ", "net ")]


def test_a_kept_stanza_is_listed_by_component_and_name(site: Site) -> None:
    peer = "net ipsec ike-peer /Common/pp {\n    remote-address 192.0.2.9\n    state disabled\n}"
    assert site.tmsh("list net ipsec ike-peer pp") == STRANGE + peer
    assert site.tmsh("list net ipsec ike-peer") == STRANGE + peer
    assert heads(site.tmsh("list ltm pool p1")) == ["ltm pool /Common/p1"]
    assert heads(site.tmsh("list ltm pool p1 /P1/p3")) == ["ltm pool /Common/p1", "ltm pool /P1/p3"]
    assert heads(site.tmsh("list ltm pool p*")) == ["ltm pool /Common/p1", "ltm pool /Common/p2"]
    assert heads(site.tmsh("list ltm pool")) == ["ltm pool /Common/p1", "ltm pool /Common/p2"]
    assert len(heads(site.type("cd /", "list ltm pool recursive")[1])) == 3
    assert heads(site.tmsh("list ltm monitor")) == heads(site.tmsh("list ltm monitor http deep"))
    assert heads(site.tmsh("list net packet-filter-trusted")) == ["net packet-filter-trusted"]
    assert heads(site.tmsh("list net ipsec"))[-1] == "net ipsec ike-peer /Common/pp"


def test_a_kept_stanza_stands_beside_what_is_carried_out(site: Site) -> None:
    both = ["ltm virtual forward", "ltm virtual /Common/web"]
    for line in ("list ltm virtual", "list ltm virtual forward web", "list ltm virtual *"):
        assert heads(site.tmsh(line)) == both, line
    assert site.tmsh("list ltm virtual web").startswith(STRANGE)


def test_one_stanza_on_one_line(site: Site) -> None:
    assert site.tmsh("list ltm pool p1 one-line") == (
        'ltm pool /Common/p1 { members { /Common/10.0.0.1:80 { address 10.0.0.1 } } description "two words" }'
    )
    assert len(site.tmsh("list ltm virtual one-line").splitlines()) == 2
    assert site.tmsh("list ltm rule r one-line").count("\n") == 2


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("list ltm pool nobody", "01020036:3: The requested ltm pool (/Common/nobody) was not found."),
        ("delete ltm pool nobody", "01020036:3: The requested ltm pool (/Common/nobody) was not found."),
        ("list ltm virtual nobody", "01020036:3: The requested Virtual Server (/Common/nobody) was not found."),
        ("delete ltm nonsense x", 'Syntax Error: unexpected argument "nonsense"'),
        ("delete ltm pool", "Syntax Error: a ltm pool needs a name"),
        ("delete ltm monitor", "Syntax Error: a ltm monitor needs a name"),
        ("delete net arp x*", "Syntax Error: there is no net arp x*"),
        ("list net arp", ""),
    ],
)
def test_what_there_is_not(site: Site, line: str, told: str) -> None:
    before = site.call("text")
    assert site.type(line) == [told]
    assert site.call("text") == before


def test_kept_stanzas_are_deleted(site: Site) -> None:
    lines = (
        "delete ltm pool p1 /P1/p3",
        "delete net ipsec ike-peer pp",
        "delete net packet-filter-trusted",
        "delete ltm virtual web",
        "delete ltm monitor http all",
    )
    assert site.type(*lines) == [""] * 5
    text = site.call("text")
    for word in ("p1", "p3", "pp", "packet-filter-trusted", "web", "deep"):
        assert f"{word} {{" not in text
    assert "ltm pool /Common/p2" in text
    assert "ltm virtual /Common/forward" in text
    assert site.type("create cli transaction", "delete ltm pool p*", "submit cli transaction") == [""] * 3
    assert "ltm pool" not in site.call("text")


def test_globs_and_all_take_kept_stanzas_along_when_they_delete(site: Site) -> None:
    assert site.tmsh("modify ltm virtual * description x") == ""
    assert site.tmsh("delete ltm virtual w*") == ""
    assert heads(site.tmsh("list ltm virtual")) == ["ltm virtual forward"]
    site.call("load", text=KEPT)
    assert site.tmsh("delete ltm virtual all") == ""
    assert "ltm virtual " not in site.call("text")


@pytest.mark.parametrize(
    "line",
    [
        "modify ltm pool p1 description x",
        "modify net ipsec ike-peer pp { state enabled }",
        "modify ltm virtual web description x",
        "cp ltm virtual web other",
        "mv ltm virtual web other",
    ],
)
def test_a_kept_stanza_is_not_changed(site: Site, line: str) -> None:
    told = site.type(line)[0]
    assert "is kept as it was loaded, without effect: it can only be listed, deleted or loaded again" in told


def test_of_one_name_there_is_one_thing(site: Site) -> None:
    assert site.type("create ltm virtual web destination 0.0.0.0:0 ip-forward")[0].startswith("01020066:3: ")
    other = "ltm virtual /Common/web {\n    destination /Common/10.0.0.0:0\n    ip-forward\n    mask 255.0.0.0\n}\n"
    site.call("load", text=other, merge=True)
    assert heads(site.tmsh("list ltm virtual")) == ["ltm virtual forward", "ltm virtual web"]
    site.call("load", text="ltm virtual /Common/web {\n    pool /Common/p1\n}\n", merge=True)
    assert heads(site.tmsh("list ltm virtual")) == ["ltm virtual forward", "ltm virtual /Common/web"]
    assert site.call("text").count("ltm virtual /Common/web") == 1


def test_the_kind_of_kept_stanzas_is_nobodys_word(site: Site) -> None:
    for line in ("list ", "delete ", "create ", "", "/"):
        assert "foreign" not in [own.word.lstrip("/") for own in completion.complete(line, Session(site))[1]]
    found = completion.complete("delete ltm virtual ", Session(site))[1]
    assert {"forward", "web"} <= {own.word for own in found}
