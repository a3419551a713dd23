"""Roles: requests made by hand reach no further than what culvertd lets their user do."""

import pytest

from tests.web.looking import Fields, House, entries, screens

POLICIES = "/objects/net/ipsec/ipsec-policy"
USERS = "/objects/auth/user"
PLACES = sorted({*(own.address for own in entries()), *screens(), "/", "/suggest/net/vlan"})
ROLES = {
    "admin": ("admin", "all-partitions"),
    "resource-admin": ("resource-admin", "all-partitions"),
    "user-manager": ("user-manager", "all-partitions"),
    "manager": ("manager", "all-partitions"),
    "seller": ("manager", "Sales"),
    "operator": ("operator", "all-partitions"),
    "auditor": ("auditor", "all-partitions"),
    "guest": ("guest", "all-partitions"),
}
OWNERS = {"admin", "resource-admin"}
MAKERS = {*OWNERS, "manager"}
PHRASE = ("password", "a long password")


def role_of(role: str) -> Fields:
    return [("partition-access.0.name", "all-partitions"), ("partition-access.0.role", role)]


ACTS: tuple[tuple[str, str, Fields, set[str]], ...] = (
    ("make in Common", f"{POLICIES}/new", [("name", "made"), ("do", "finished")], MAKERS),
    ("make in Sales", f"{POLICIES}/new", [("name", "x"), ("partition", "Sales"), ("do", "finished")],
     {*MAKERS, "seller"}),
    ("make by full name", f"{POLICIES}/new", [("name", "/Common/x"), ("partition", "Sales"), ("do", "finished")],
     MAKERS),
    ("reach out of Sales", f"{POLICIES}/new", [("name", "../Common/x"), ("partition", "Sales"), ("do", "finished")],
     set()),
    ("describe", f"{POLICIES}/~Common~spare", [("description", "x"), ("do", "update")], {*MAKERS, "operator"}),
    ("switch off", "/objects/ltm/virtual/~Common~forward-all", [("enabled", "disabled"), ("do", "update")],
     {*MAKERS, "operator"}),
    ("change", f"{POLICIES}/~Common~spare", [("ike-phase2-lifetime", "60"), ("do", "update")], MAKERS),
    ("delete", POLICIES, [("select", "/Common/spare"), ("do", "confirmed")], MAKERS),
    ("make a guest", f"{USERS}/new", [("name", "eve"), PHRASE, *role_of("guest"), ("do", "finished")],
     {"admin", "user-manager"}),
    ("make an admin", f"{USERS}/new", [("name", "eve"), PHRASE, *role_of("admin"), ("do", "finished")], {"admin"}),
    ("rise", f"{USERS}/{{me}}", [*role_of("admin"), ("do", "update")], {"admin"}),
    ("take a password", f"{USERS}/ann", [PHRASE, ("do", "update")], {"admin"}),
    ("name the host", "/objects/sys/global-settings", [("hostname", "owned.example"), ("do", "update")], OWNERS),
)  # fmt: skip


@pytest.mark.parametrize("who", ROLES)
def test_hand_made_requests_reach_no_further_than_a_role(house: House, who: str) -> None:
    role, where = ROLES[who]
    house.inside.user(who, role, where)
    house.make("net ipsec ipsec-policy", "/Common/spare")
    saved = house.inside.root("text")
    for what, url, form, allowed in ACTS:
        house.inside.root("load", text=saved)
        before = house.inside.root("text")
        own = house.browser(who)
        generation = house.inside.root("list", kind="net ipsec ipsec-policy", names=["/Common/spare"])[0]["generation"]
        target = url.replace("{me}", who)
        if "update" in dict(form).values():
            found = own.ask("GET", target)
            generation = found.text.partition('name="generation" value="')[2].partition('"')[0]
        page = own.ask("POST", target, [("csrf", own.csrf), ("generation", str(generation)), *form])
        after = house.inside.root("text")
        if who in allowed:
            assert page.status == 303 and (after != before or what == "rise"), (what, page.said("alert"))
        else:
            assert page.status in (400, 403, 404) and after == before, (what, page.status, page.location)


@pytest.mark.parametrize("who", ROLES)
def test_every_page_is_there_or_refused_to_a_role(house: House, who: str) -> None:
    house.inside.user(who, *ROLES[who])
    own = house.browser(who)
    for url in PLACES:
        page = own.ask("GET", url)
        assert page.status in (200, 303, 403), (url, page.status)


def test_a_partition_is_for_those_who_have_a_role_there(house: House) -> None:
    house.make("auth partition", "Other")
    house.make("net ipsec ipsec-policy", "/Other/unseen-one", description="hidden-words")
    house.make("net ipsec ipsec-policy", "/Sales/theirs")
    house.inside.user("seller", "manager", "Sales")
    own = house.browser("seller")
    listed = own.open(POLICIES)
    assert "/Sales/theirs" in listed.text and "unseen-one" not in listed.text
    page = own.ask("GET", f"{POLICIES}/~Other~unseen-one")
    assert page.status in (403, 404) and "hidden-words" not in page.text
    assert "unseen-one" not in own.ask("GET", "/suggest/net/ipsec/ipsec-policy?x=").text
    assert "hidden-words" not in own.ask("GET", f"{POLICIES}?search=description:hidden").text
    sent = [("csrf", own.csrf), ("select", "/Other/unseen-one"), ("do", "confirmed")]
    assert own.ask("POST", POLICIES, sent).status in (403, 404)


ACTING = {*MAKERS, "seller", "operator"}
DEEDS: tuple[tuple[str, Fields, set[str]], ...] = (
    ("/configuration/save", [], {*MAKERS, "seller", "user-manager"}),
    ("/live", [("do", "reset")], {*MAKERS, "operator"}),
    ("/diagnostics", [("do", "log-level"), ("log-level", "debug")], MAKERS),
    ("/diagnostics", [("do", "delete")], ACTING),
    ("/capture", [("do", "start")], {*OWNERS, "user-manager", "auditor"}),
)
"""What other pages than those of objects do when they are asked, and for whom."""


@pytest.mark.parametrize("who", ROLES)
def test_other_pages_do_no_more_than_a_role_may(house: House, who: str) -> None:
    house.inside.user(who, *ROLES[who])
    own = house.browser(who)
    for url, form, allowed in DEEDS:
        page = own.ask("POST", url, [("csrf", own.csrf), *form])
        refused = page.status == 403 and f"{who} (" in page.text
        assert refused is (who not in allowed), (url, form, page.status, page.said("alert"))


@pytest.mark.parametrize("who", [who for who in ROLES if who not in OWNERS])
@pytest.mark.parametrize("how", ["merge", "replace", "merge-confirmed", "replace-confirmed", "confirmed", ""])
def test_only_owners_bring_a_configuration(house: House, who: str, how: str) -> None:
    house.inside.user(who, *ROLES[who])
    own, before = house.browser(who), house.inside.root("text")
    for url in ("/configuration/upload", "/configuration/rollback"):
        text = "net vlan /Common/brought { tag 88 }\n"
        own.ask("POST", url, [("csrf", own.csrf), ("text", text), ("verified", text), ("number", "1"), ("do", how)])
    assert house.inside.root("text") == before
