"""`$filter`, `$select`, `$top`, `$skip`."""

from typing import Any

import pytest

from culvert.rest import queries
from culvert.rest.exchange import BadRequest
from tests.rest.asking import Web

POLICY = "/mgmt/tm/net/ipsec/ipsec-policy"
ITEMS: list[dict[str, Any]] = [
    {"name": "a", "partition": "Common", "order": 1, "mode": "tunnel"},
    {"name": "b", "partition": "Common", "order": 5, "enabled": True},
    {"name": "it's", "partition": "Other", "order": 10},
]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("partition eq Common", ["a", "b"]),
        ("partition ne Common", ["it's"]),
        ("order gt 1", ["b", "it's"]),
        ("order ge 5 and order lt 10", ["b"]),
        ("order le 1 or name eq b", ["a", "b"]),
        ("not partition eq Common", ["it's"]),
        ("not (order eq 1 or order eq 5)", ["it's"]),
        ("name eq 'it''s'", ["it's"]),
        ('name eq "a"', ["a"]),
        ("enabled eq true", ["b"]),
        ("mode ne tunnel", ["b", "it's"]),
        ("order eq x", []),
        ("name eq b or name eq a and order eq 5", ["b"]),
    ],
)
def test_filters(text: str, names: list[str]) -> None:
    found, _ = queries.selected(ITEMS, {"$filter": text}, dict)
    assert [each["name"] for each in found] == names


@pytest.mark.parametrize(
    "text", ["name", "name eq", "name like a", "(name eq a", "name eq a)", "name eq 'a", "not " * 50 + "name eq a"]
)
def test_filters_that_cannot_be_read(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        queries.selected(ITEMS, {"$filter": text}, dict)
    assert caught.value.status == 400


def test_a_page_says_where_it_is() -> None:
    found, paging = queries.selected(ITEMS, {"$top": "2", "$skip": "2"}, dict)
    assert [each["name"] for each in found] == ["it's"]
    assert paging == {
        "currentItemCount": 1,
        "itemsPerPage": 2,
        "pageIndex": 2,
        "startIndex": 3,
        "totalItems": 3,
        "totalPages": 2,
    }
    assert queries.selected(ITEMS, {"$top": "0"}, dict)[0] == []
    assert len(queries.selected(ITEMS, {"$skip": "1"}, dict)[0]) == 2


@pytest.mark.parametrize("text", ["-1", "x", "", "1.5", "9" * 10])
def test_numbers_are_plain(text: str) -> None:
    with pytest.raises(BadRequest):
        queries.selected(ITEMS, {"$top": text}, dict)


def test_over_a_collection(client: Web) -> None:
    for name in ("a", "b", "c"):
        client.good("POST", POLICY, {"name": name, "mode": "transport", "description": f"the {name}"})
    found = client.good("GET", f"{POLICY}?$filter=description%20eq%20'the%20b'&$select=name,mode")
    assert found["items"] == [{"name": "b", "mode": "transport"}]
    assert client.good("GET", f"{POLICY}/a?$select=description") == {"description": "the a"}
    page = client.good("GET", f"{POLICY}?$top=1&$skip=1&$select=name")
    assert len(page["items"]) == 1
    assert page["startIndex"] == 2
    assert client.bad("GET", f"{POLICY}?$filter=nonsense")[0] == 400


def test_expanded_members_are_inside(client: Web) -> None:
    client.good("POST", "/mgmt/tm/net/vlan", {"name": "v", "interfaces": [{"name": "wan0", "untagged": True}]})
    for address in ("/mgmt/tm/net/vlan/v", "/mgmt/tm/net/vlan"):
        found = client.good("GET", f"{address}?expandSubcollections=true")
        (own,) = found.get("items", [found])
        assert [each["name"] for each in own["interfacesReference"]["items"]] == ["wan0"]
        assert own["interfacesReference"]["isSubcollection"] is True
