"""Words and names of the model as iControl REST writes them."""

import pytest

from culvert.model.registry import KINDS
from culvert.rest import naming
from tests.rest.asking import Web

POLICY = "/mgmt/tm/net/ipsec/ipsec-policy"


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("auth-key-encrypted", "authKeyEncrypted"),
        ("ike-phase2-auth-algorithm", "ikePhase2AuthAlgorithm"),
        ("mode", "mode"),
    ],
)
def test_words_become_keys(word: str, key: str) -> None:
    assert naming.camel(word) == key


@pytest.mark.parametrize(
    ("segment", "name"),
    [("~Common~x", "/Common/x"), ("x", "x"), ("~Common~a~b", "/Common/a/b"), ("%7ECommon%7Ex", "/Common/x")],
)
def test_segments_become_names(segment: str, name: str) -> None:
    assert naming.object_name(segment) == name


def test_names_become_segments() -> None:
    kind = KINDS["net", "self"]
    assert naming.object_path(kind, "/Common/a b") == "/mgmt/tm/net/self/~Common~a%20b"
    assert naming.object_path(kind, "/Common/x", short=True) == "/mgmt/tm/net/self/x"
    assert naming.object_path(KINDS["sys", "global-settings"], "") == "/mgmt/tm/sys/global-settings"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("/Common/x", {"name": "x", "partition": "Common", "fullPath": "/Common/x"}),
        ("/Common/f/x", {"name": "x", "partition": "Common", "subPath": "f", "fullPath": "/Common/f/x"}),
        ("wan0", {"name": "wan0", "fullPath": "wan0"}),
    ],
)
def test_parts_of_a_name(name: str, expected: dict[str, str]) -> None:
    assert naming.parts(name) == expected


@pytest.mark.parametrize(
    ("given", "full"),
    [
        (("x", None, None), "/Common/x"),
        (("x", "/Other/", None), "/Other/x"),
        (("x", "Other", "f"), "/Other/f/x"),
        (("/Common/y", "Other", None), "/Common/y"),
    ],
)
def test_the_name_that_a_body_asks_for(given: tuple[str, str | None, str | None], full: str) -> None:
    assert naming.full_name(*given) == full


def test_asked_by_its_short_name_it_answers_by_it(client: Web) -> None:
    client.good("POST", POLICY, {"name": "p", "mode": "transport"})
    own = client.good("GET", f"{POLICY}/p")
    assert "partition" not in own
    assert own["fullPath"] == own["name"] == "p"
    assert own["selfLink"] == f"https://localhost{POLICY}/p?ver=17.1.0"
    full = client.good("GET", f"{POLICY}/~Common~p")
    assert full["fullPath"] == "/Common/p"
    assert full["partition"] == "Common"


def test_objects_of_other_partitions_are_not_found_by_short_names(client: Web) -> None:
    client.good("POST", "/mgmt/tm/auth/partition", {"name": "Other"})
    made = client.good("POST", POLICY, {"name": "p", "partition": "Other", "mode": "transport"})
    assert made["fullPath"] == "/Other/p"
    assert client.good("GET", f"{POLICY}/~Other~p")["partition"] == "Other"
    assert client.bad("GET", f"{POLICY}/p")[0] == 404
