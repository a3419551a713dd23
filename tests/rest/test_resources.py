"""Objects read, made, changed, replaced and taken away, one by one and in transactions."""

from typing import Any

import pytest

from culvert.dataplane.memory import MemoryPlane
from culvert.dataplane.plane import LinkState
from tests.rest.asking import Web

POLICY = "/mgmt/tm/net/ipsec/ipsec-policy"
SELECTOR = "/mgmt/tm/net/ipsec/traffic-selector"
ASSOCIATION = "/mgmt/tm/net/ipsec/manual-security-association"
VLAN = "/mgmt/tm/net/vlan"
TRANSACTION = "/mgmt/tm/transaction"
TUNNEL = {"mode": "tunnel", "tunnelLocalAddress": "2.2.2.2", "tunnelRemoteAddress": "3.3.3.3"}


@pytest.fixture
def policy(client: Web) -> Any:
    return client.good("POST", POLICY, {"name": "p", "description": "first", **TUNNEL})


def test_what_is_not_there_is_404(client: Web) -> None:
    answer = client.ask("GET", f"{POLICY}/~Common~absent")
    assert (answer.status, answer.body) == (
        404,
        {
            "code": 404,
            "message": "01020036:3: The requested IPsec policy (/Common/absent) was not found.",
            "errorStack": [],
            "apiError": 3,
        },
    )
    for method, body in (("PATCH", {"description": "x"}), ("PUT", {}), ("DELETE", None)):
        assert client.bad(method, f"{POLICY}/absent", body)[0] == 404


def test_what_is_there_is_409(client: Web, policy: Any) -> None:
    assert client.bad("POST", POLICY, {"name": "p", **TUNNEL}) == (
        409,
        "01020066:3: The requested IPsec policy (/Common/p) already exists in partition Common.",
    )


NO_OBJECTS = (b"{", b"[]", b'"x"', b"\xff", b"j\0", '{"name": "p"}'.encode("utf-16"), b"[" * 100_000)


@pytest.mark.parametrize("content", NO_OBJECTS)
def test_what_is_no_json_object_is_400(client: Web, content: bytes) -> None:
    answer = client.ask("POST", POLICY, content)
    assert answer.status == 400
    assert answer.body["message"] == "Found invalid JSON body in the request."
    assert answer.body["apiError"] == 1


def test_what_is_in_use_stays(client: Web, policy: Any) -> None:
    body = {"name": "s", "sourceAddress": "10.1.0.0/24", "destinationAddress": "10.2.0.0/24", "ipsecPolicy": "p"}
    client.good("POST", SELECTOR, body)
    status, message = client.bad("DELETE", f"{POLICY}/p")
    assert status == 400
    assert message.startswith("01070265:3: ")
    assert "/Common/s" in message


def test_methods_that_an_address_has_not(client: Web, policy: Any) -> None:
    for method, address in (("POST", f"{POLICY}/p"), ("PATCH", POLICY), ("PUT", POLICY), ("DELETE", POLICY)):
        answer = client.ask(method, address, {})
        assert answer.status == 405
        assert method not in answer.headers["Allow"]
    assert client.bad("GET", "/mgmt/tm/net/nonsense")[0] == 404


def test_patch_changes_what_is_given_and_put_all(client: Web, policy: Any) -> None:
    changed = client.good("PATCH", f"{POLICY}/~Common~p", {"ikePhase2Lifetime": 60})
    assert (changed["ikePhase2Lifetime"], changed["description"]) == (60, "first")
    replaced = client.good("PUT", f"{POLICY}/~Common~p", TUNNEL)
    assert replaced["ikePhase2Lifetime"] == 1440
    assert "description" not in replaced
    assert client.bad("PATCH", f"{POLICY}/p", {}) == (400, "one or more properties must be specified")
    assert client.bad("PATCH", f"{POLICY}/p", {"kind": "x"})[0] == 400


def test_put_takes_no_notice_of_what_is_read_only(client: Web, policy: Any) -> None:
    sent = policy | {"generation": 7, "selfLink": "https://elsewhere/x", "fullPath": "/Other/y", "description": "again"}
    put = client.good("PUT", f"{POLICY}/~Common~p", sent)
    assert (put["fullPath"], put["description"]) == ("/Common/p", "again")


def test_generation_counts_the_changes_of_the_system(client: Web, policy: Any) -> None:
    other = client.good("POST", POLICY, {"name": "q", **TUNNEL})
    assert other["generation"] == policy["generation"] + 1
    assert client.good("GET", f"{POLICY}/~Common~p") == policy
    assert client.good("PATCH", f"{POLICY}/p", {"description": "second"})["generation"] == other["generation"] + 1


def test_what_is_set_to_what_it_was_is_no_change(client: Web, policy: Any) -> None:
    keys = {"authKey": "0x" + "11" * 20, "encryptKey": "0x" + "22" * 16}
    body = {"name": "sa", "spi": 1001, "sourceAddress": "2.2.2.2", "destinationAddress": "3.3.3.3", "ipsecPolicy": "p"}
    sealed = client.good("POST", ASSOCIATION, body | keys)
    before = client.site.call("describe")["generation"], client.site.call("text")
    assert client.good("PATCH", f"{POLICY}/~Common~p", {"description": "first"}) == policy
    assert client.good("PUT", f"{POLICY}/~Common~p", policy) == policy
    assert client.good("PATCH", f"{ASSOCIATION}/~Common~sa", keys) == sealed
    assert (client.site.call("describe")["generation"], client.site.call("text")) == before
    assert client.good("PATCH", f"{ASSOCIATION}/~Common~sa", {"authKey": "0x" + "33" * 20}) != sealed


def test_delete_has_an_empty_body(client: Web, policy: Any) -> None:
    answer = client.ask("DELETE", f"{POLICY}/~Common~p")
    assert (answer.status, answer.octets) == (200, b"")
    assert client.bad("GET", f"{POLICY}/p")[0] == 404


def test_a_collection_has_items_even_when_it_is_empty(client: Web) -> None:
    found = client.good("GET", VLAN)
    assert found == {
        "kind": "tm:net:vlan:vlancollectionstate",
        "selfLink": "https://localhost/mgmt/tm/net/vlan?ver=17.1.0",
        "items": [],
    }


def test_levels_above_lead_to_those_below(client: Web) -> None:
    found = client.good("GET", "/mgmt/tm/net/ipsec")
    links = [each["reference"]["link"] for each in found["items"]]
    assert f"https://localhost{POLICY}?ver=17.1.0" in links


def test_members_one_by_one(client: Web) -> None:
    client.good("POST", VLAN, {"name": "v"})
    made = client.good("POST", f"{VLAN}/~Common~v/interfaces", {"name": "wan0", "untagged": True})
    assert made["kind"] == "tm:net:vlan:interfaces:interfacesstate"
    changed = client.good("PATCH", f"{VLAN}/~Common~v/interfaces/wan0", {"tagged": True})
    assert changed["tagged"] is True
    assert client.bad("GET", f"{VLAN}/~Common~v/interfaces/none")[0] == 404
    client.good("DELETE", f"{VLAN}/~Common~v/interfaces/wan0")
    assert client.good("GET", f"{VLAN}/~Common~v/interfaces")["items"] == []


def test_options_are_tmshs_words(client: Web) -> None:
    client.good("POST", "/mgmt/tm/sys/log-config/publisher", {"name": "p"})
    address = "/mgmt/tm/sys/log-config/publisher/~Common~p"
    changed = client.good("PATCH", f"{address}?options=destinations+add+{{+local-syslog+}}", {})
    assert [each["name"] for each in changed["destinations"]] == ["local-syslog"]


def test_a_transaction_is_all_or_nothing(client: Web) -> None:
    begun = client.good("POST", TRANSACTION, {})
    assert (begun["state"], begun["timeoutSeconds"], begun["kind"]) == ("STARTED", 120, "tm:transactionstate")
    number = str(begun["transId"])
    queued = client.good("POST", POLICY, {"name": "p", **TUNNEL}, x_f5_rest_coordination_id=number)
    assert (queued["method"], queued["commandId"], queued["evalOrder"]) == ("POST", 1, 1)
    client.good("POST", POLICY, {"name": "p", **TUNNEL}, x_f5_rest_coordination_id=number)
    assert client.bad("GET", f"{POLICY}/p")[0] == 404
    status, message = client.bad("PATCH", f"{TRANSACTION}/{number}", {"state": "VALIDATING"})
    assert status == 409
    assert message.startswith("transaction failed:01020066:3: ")
    assert client.bad("GET", f"{POLICY}/p")[0] == 404


def test_a_transaction_may_be_tried_and_then_carried_out(client: Web) -> None:
    number = str(client.good("POST", TRANSACTION, {})["transId"])
    client.good("POST", POLICY, {"name": "p", **TUNNEL}, x_f5_rest_coordination_id=number)
    assert len(client.good("GET", f"{TRANSACTION}/{number}/commands")["items"]) == 1
    tried = client.good("PATCH", f"{TRANSACTION}/{number}", {"state": "VALIDATING", "validateOnly": True})
    assert tried["validateOnly"] is True
    assert client.bad("GET", f"{POLICY}/p")[0] == 404
    done = client.good("PATCH", f"{TRANSACTION}/{number}", {"state": "VALIDATING"})
    assert done["state"] == "COMPLETED"
    client.good("GET", f"{POLICY}/p")
    assert client.bad("GET", f"{TRANSACTION}/{number}")[0] == 404


def test_a_transaction_that_nobody_began(client: Web) -> None:
    for number in ("1", "x", "9" * 30):
        assert client.bad("POST", POLICY, {"name": "p", **TUNNEL}, x_f5_rest_coordination_id=number)[0] == 404
    assert client.bad("GET", f"{POLICY}/p")[0] == 404


def test_statistics_say_whether_they_are_of_one_or_of_all(client: Web, policy: Any) -> None:
    one = client.good("GET", f"{POLICY}/~Common~p/stats")
    every = client.good("GET", f"{POLICY}/stats")
    assert one["kind"] == "tm:net:ipsec:ipsec-policy:ipsec-policystats"
    assert every["kind"] == "tm:net:ipsec:ipsec-policy:ipsec-policycollectionstats"
    assert one["entries"].keys() <= every["entries"].keys()


def test_nobody_learns_anything_without_credentials(client: Web, policy: Any) -> None:
    for address in (f"{POLICY}/p", "/mgmt/tm/net/nonsense", TRANSACTION):
        answer = client.ask("GET", address, authorization="")
        assert answer.status == 401
        assert "WWW-Authenticate" in answer.headers


def test_a_partitions_own_folder_has_its_description(client: Web) -> None:
    client.good("POST", "/mgmt/tm/auth/partition", {"name": "branch", "description": "first"})
    address = "/mgmt/tm/sys/folder/~branch"
    own = client.good("GET", address)
    assert (own["kind"], own["fullPath"], own["description"]) == ("tm:sys:folder:folderstate", "/branch", "first")
    assert client.good("PATCH", address, {"description": "second"})["description"] == "second"
    assert client.good("GET", "/mgmt/tm/auth/partition/branch")["description"] == "second"
    assert client.bad("DELETE", address)[0] == 405
    assert client.bad("GET", "/mgmt/tm/sys/folder/~absent")[0] == 404


def test_what_there_is_none_of_here_is_an_empty_collection(client: Web) -> None:
    assert client.good("GET", "/mgmt/tm/ltm/profile/client-ssl/")["items"] == []
    assert client.bad("POST", "/mgmt/tm/ltm/pool", {"name": "x"})[0] == 405


@pytest.mark.parametrize("sort", ["text/plain", "application/x-www-form-urlencoded", "application/octet-stream", "x"])
def test_a_body_that_says_to_be_no_json_is_415(client: Web, sort: str) -> None:
    answer = client.ask("POST", POLICY, {"name": "p"}, content_type=sort)
    assert (answer.status, answer.body["code"], answer.body["apiError"]) == (415, 415, 1)
    assert answer.body["message"] == (
        "Found invalid content-type. The content-type must be application/json. "
        f"The received content-type is {sort}"
    )
    assert client.bad("GET", f"{POLICY}/p")[0] == 404


@pytest.mark.parametrize("sort", ["application/json", "Application/JSON; charset=utf-8"])
def test_a_body_that_says_to_be_json_is_taken(client: Web, sort: str) -> None:
    client.good("POST", POLICY, {"name": "p"}, content_type=sort)


def test_a_vlan_put_without_a_tag_gets_one(client: Web) -> None:
    assert client.good("POST", VLAN, {"name": "a"})["tag"] == 4094
    assert client.good("POST", VLAN, {"name": "b", "tag": 12})["tag"] == 12
    assert client.good("PUT", f"{VLAN}/b", {})["tag"] == 4093
    generation = client.site.call("describe")["generation"]
    assert client.good("PUT", f"{VLAN}/b", {})["tag"] == 4093
    assert client.good("PUT", f"{VLAN}/a", {"description": "x"})["tag"] == 4094
    assert client.site.call("describe")["generation"] == generation + 1
    assert client.good("PUT", f"{VLAN}/a", {"tag": 7})["tag"] == 7


def test_a_link_that_stays_as_it_is_was_not_changed(client: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryPlane, "links", lambda self: [LinkState("wan0", "up", "", 1500)])
    name = client.good("GET", "/mgmt/tm/net/interface")["items"][0]["name"]
    before = client.site.call("describe")["generation"], client.site.call("text")
    own = client.good("GET", f"/mgmt/tm/net/interface/{name}")
    client.good("PUT", f"/mgmt/tm/net/interface/{name}", {})
    client.good("PUT", f"/mgmt/tm/net/interface/{name}", own)
    client.good("PATCH", f"/mgmt/tm/net/interface/{name}", {"enabled": True})
    assert (client.site.call("describe")["generation"], client.site.call("text")) == before
    changed = client.good("PATCH", f"/mgmt/tm/net/interface/{name}", {"description": "x"})
    assert changed["generation"] == before[0] + 1


@pytest.mark.parametrize("name", ["all", "*", "a?", "[ab]"])
def test_an_address_names_one_thing(client: Web, name: str) -> None:
    for own in ("ab", "cd"):
        client.good("POST", "/mgmt/tm/auth/partition", {"name": own})
    address = f"/mgmt/tm/auth/partition/{name}"
    for method, body in (("GET", None), ("PATCH", {"description": "x"}), ("PUT", {}), ("DELETE", None)):
        assert client.bad(method, address, body)[0] == 404
    assert client.good("GET", "/mgmt/tm/auth/partition/ab").get("description") is None


def test_a_page_is_what_the_whole_would_have_there(client: Web) -> None:
    for number in range(7):
        client.good("POST", POLICY, {"name": f"p{number}"})
    every = client.good("GET", POLICY)["items"]
    found = client.good("GET", f"{POLICY}?$top=3&$skip=2")
    assert found["items"] == every[2:5]
    assert (found["totalItems"], found["currentItemCount"], found["totalPages"]) == (len(every), 3, -(-len(every) // 3))
    assert client.good("GET", f"{POLICY}?$top=5&$skip=100")["items"] == []
    assert client.good("GET", f"{POLICY}?$skip=1&$select=name")["items"] == [{"name": own["name"]} for own in every[1:]]
    assert client.bad("GET", f"{POLICY}?$top=x")[0] == 400


def test_who_has_an_account_and_the_own_password(client: Web) -> None:
    users = "/mgmt/shared/authz/users"
    client.good("POST", "/mgmt/tm/auth/user", {"name": "ann", "description": "Ann Example"})
    assert [own["name"] for own in client.good("GET", users)["items"]] == ["ann"]
    assert client.good("GET", f"{users}/ann")["displayName"] == "Ann Example"
    before = client.site.gateway.snapshot.get(("auth", "user"), "ann")
    assert client.good("PATCH", f"{users}/ann", {"oldPassword": "", "password": "a new one"})["name"] == "ann"
    assert client.site.gateway.snapshot.get(("auth", "user"), "ann") != before
    assert client.bad("PATCH", f"{users}/nobody", {"password": "a new one"})[0] == 404
    assert client.bad("PATCH", f"{users}/ann", {"password": 7})[0] == 400
    assert client.bad("DELETE", f"{users}/ann")[0] == 405
    for name in ("all", "*"):
        assert client.bad("PATCH", f"{users}/{name}", {"password": "a new one"})[0] == 404


def test_there_are_no_extensions(client: Web) -> None:
    tasks = "/mgmt/shared/iapp/package-management-tasks"
    begun = client.good("POST", tasks, {"operation": "QUERY"})
    assert (begun["status"], begun["queryResponse"]) == ("FINISHED", [])
    assert client.good("GET", f"{tasks}/{begun['id']}") == begun
    assert client.good("GET", "/mgmt/shared/iapp/global-installed-packages")["items"] == []
    assert client.bad("POST", tasks, {"operation": "INSTALL", "packageFilePath": "/x"})[0] == 403
    assert client.bad("GET", f"{tasks}/other")[0] == 404


def test_counters_have_the_vendors_names_too(client: Web) -> None:
    client.good("POST", VLAN, {"name": "v", "tag": 7})
    body = {"name": "f", "destination": "0.0.0.0:0", "mask": "any", "ipForward": True, "profiles": ["fastL4"]}
    client.good("POST", "/mgmt/tm/ltm/virtual", body)
    for address, key, value in (
        (f"{VLAN}/v", "id", {"value": 7}),
        (f"{VLAN}/v", "macTrue", {"description": "none"}),
        ("/mgmt/tm/ltm/virtual/f", "clientside.pktsIn", {"value": 0}),
        ("/mgmt/tm/ltm/virtual/f", "status.enabledState", {"description": "enabled"}),
    ):
        (own,) = client.good("GET", f"{address}/stats")["entries"].values()
        assert own["nestedStats"]["entries"][key] == value


def test_a_virtual_server_has_no_policies(client: Web) -> None:
    virtual = "/mgmt/tm/ltm/virtual"
    body = {"name": "f", "destination": "0.0.0.0:0", "mask": "any", "ipForward": True, "profiles": ["fastL4"]}
    made = client.good("POST", virtual, body)
    assert made["policiesReference"]["isSubcollection"] is True
    assert client.good("GET", f"{virtual}/~Common~f?expandSubcollections=true")["policiesReference"]["items"] == []
    assert client.good("GET", f"{virtual}/~Common~f/policies")["items"] == []
    assert client.good("PUT", f"{virtual}/~Common~f", made) == made
    assert client.bad("GET", f"{virtual}/absent/policies")[0] == 404
    assert client.bad("POST", f"{virtual}/f/policies", {"name": "x"})[0] == 405
