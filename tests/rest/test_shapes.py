"""Objects as JSON and back: what is shown can be sent, and changes nothing."""

import pytest

from culvert.lab import keys
from culvert.lab.sites import SITES
from culvert.model.kind import Naming
from culvert.model.registry import KINDS
from culvert.rest import defaults, naming
from culvert.rest.resources import HIDDEN
from tests.clients import bodies
from tests.rest.asking import Web

POLICY = "/mgmt/tm/net/ipsec/ipsec-policy"
VLAN = {"name": "external", "interfaces": [{"name": "wan0", "untagged": True}]}
KIND_PATHS = [path for path in KINDS if path not in HIDDEN and path[-1] != "interface"]


def _build(client: Web, node: str = "a") -> None:
    for each in bodies.objects(SITES[node], keys.fresh()):
        client.good("POST", each["collection"], each["body"])


def test_the_whole_of_every_object_can_be_put_back_and_changes_nothing(client: Web) -> None:
    _build(client)
    before = client.site.call("describe")["generation"], client.site.call("text")
    for path in (path for path in KIND_PATHS if not KINDS[path].derived):
        base = naming.collection_path(path)
        found = client.good("GET", base)
        for own in [found] if KINDS[path].naming is Naming.SINGLE else found["items"]:
            address = own["selfLink"].removeprefix("https://localhost").partition("?")[0]
            assert client.good("PUT", address, own) == own
    assert (client.site.call("describe")["generation"], client.site.call("text")) == before


def test_a_policy_has_the_vendors_shape(client: Web) -> None:
    made = client.good(
        "POST",
        POLICY,
        {"name": "p", "mode": "tunnel", "tunnelLocalAddress": "2.2.2.2", "tunnelRemoteAddress": "3.3.3.3"},
    )
    assert list(made)[:6] == ["kind", "name", "partition", "fullPath", "generation", "selfLink"]
    assert list(made)[6:] == sorted(list(made)[6:])
    assert made["kind"] == "tm:net:ipsec:ipsec-policy:ipsec-policystate"
    assert made["selfLink"] == "https://localhost/mgmt/tm/net/ipsec/ipsec-policy/~Common~p?ver=17.1.0"
    assert made["ikePhase2Lifetime"] == 1440
    assert made["ipcomp"] == "none"
    assert "description" not in made


def test_words_for_numbers_that_cannot_be_given_stay_words(client: Web) -> None:
    made = client.good("POST", POLICY, {"name": "p", "mode": "transport"})
    assert made["dscp"] == "copy"
    assert made["tcpMss"] == "disabled"


def test_references_come_with_a_link_and_bare_ones_are_of_common(client: Web) -> None:
    client.good("POST", "/mgmt/tm/net/vlan", VLAN)
    body = {"name": "s", "address": "2.2.2.2/24", "vlan": "external", "allow-service": ["tcp:22"]}
    made = client.good("POST", "/mgmt/tm/net/self", body)
    assert made["vlan"] == "/Common/external"
    assert made["vlanReference"] == {"link": "https://localhost/mgmt/tm/net/vlan/~Common~external?ver=17.1.0"}
    assert made["allowService"] == ["tcp:22"]
    changed = client.good("PATCH", "/mgmt/tm/net/self/~Common~s", {"allowService": "all"})
    assert changed["allowService"] == "all"
    assert "allowService" not in client.good("PATCH", "/mgmt/tm/net/self/~Common~s", {"allowService": "none"})


def test_keys_come_back_sealed_alone(client: Web) -> None:
    _build(client)
    own = client.good("GET", f"{bodies.ASSOCIATION}/sa-out")
    assert "authKey" not in own
    assert "encryptKey" not in own
    assert own["authKeyEncrypted"].startswith("$M$")


def test_a_reference_without_members_leaves_them_and_one_with_them_sets_them(client: Web) -> None:
    own = client.good("POST", "/mgmt/tm/net/vlan", VLAN)
    assert "items" not in own["interfacesReference"]
    client.good("PUT", "/mgmt/tm/net/vlan/external", own)
    assert [each["name"] for each in client.good("GET", "/mgmt/tm/net/vlan/external/interfaces")["items"]] == ["wan0"]
    own["interfacesReference"] = {"items": [{"name": "lan0", "tagged": True}]}
    client.good("PUT", "/mgmt/tm/net/vlan/external", own)
    (found,) = client.good("GET", "/mgmt/tm/net/vlan/external/interfaces")["items"]
    assert found["name"] == "lan0"
    assert found["tagged"] is True


def test_hyphenated_keys_are_taken(client: Web) -> None:
    body = {"name": "p", "mode": "transport", "ike-phase2-lifetime": 60}
    assert client.good("POST", POLICY, body)["ikePhase2Lifetime"] == 60


def test_null_and_empty_texts_are_none(client: Web) -> None:
    client.good("POST", POLICY, {"name": "p", "mode": "transport", "description": "x"})
    assert "description" not in client.good("PATCH", f"{POLICY}/p", {"description": ""})
    client.good("PATCH", f"{POLICY}/p", {"description": "x"})
    assert "description" not in client.good("PATCH", f"{POLICY}/p", {"description": None})


@pytest.mark.parametrize(("path", "key"), [(path, key) for path, own in defaults.STANDING.items() for key in own])
def test_what_the_vendor_has_and_culvert_has_not_is_taken_at_its_value(
    client: Web, path: tuple[str, ...], key: str
) -> None:
    collection = naming.collection_path(path)
    own = defaults.STANDING[path][key]
    status, message = client.bad("POST", collection, {"name": "x", key: {"type": "other"} if own else "other"})
    assert status == 400
    assert key in message
    _build(client)
    items = client.good("GET", collection)["items"]
    assert items
    for each in items:
        assert each[key] == own
        address = each["selfLink"].removeprefix("https://localhost").partition("?")[0]
        assert client.good("PATCH", address, {key: own}) == each


def test_what_is_not_there_may_be_said_to_be_none(client: Web) -> None:
    body = {
        "name": "v",
        "destination": "0.0.0.0:0",
        "ipForward": True,
        "pool": "",
        "rules": [],
        "metadata": [{"name": "a"}],
    }
    body |= {"creationTime": "2019-12-30T16:45:57Z", "profiles": [{"name": "fastL4", "context": "all"}]}
    made = client.good("POST", "/mgmt/tm/ltm/virtual", body)
    assert "pool" not in made
    (profile,) = client.good("GET", "/mgmt/tm/ltm/virtual/v/profiles")["items"]
    assert profile["context"] == "all"
    assert client.bad("PATCH", "/mgmt/tm/ltm/virtual/v", {"pool": "web"}) == (
        400,
        '01070734:3: Configuration error: there is no "pool" here; allowed: none',
    )
    status, message = client.bad(
        "PATCH", "/mgmt/tm/ltm/virtual/v", {"profiles": [{"name": "fastL4", "context": "clientside"}]}
    )
    assert status == 400
    assert "context" in message


def test_a_word_of_nobodys_is_refused_by_name(client: Web) -> None:
    status, message = client.bad("POST", POLICY, {"name": "p", "colour": "blue"})
    assert (status, message) == (400, '"colour" unknown property')


def test_a_users_partitions_come_with_links(client: Web) -> None:
    everywhere = {"name": "all-partitions", "role": "guest"}
    made = client.good("POST", "/mgmt/tm/auth/user", {"name": "ann", "partitionAccess": [everywhere]})
    link = "https://localhost/mgmt/tm/auth/partition/all-partitions?ver=17.1.0"
    assert made["partitionAccess"] == [everywhere | {"nameReference": {"link": link}}]
    assert client.good("PUT", "/mgmt/tm/auth/user/ann", made) == made
