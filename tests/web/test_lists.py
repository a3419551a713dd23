"""Lists: searched, sorted, paged, and deleted from, with what stands in the way named."""

import pytest

from tests.web.looking import Browser, House, Page

SELECTORS = "/objects/net/ipsec/traffic-selector"
POLICIES = "/objects/net/ipsec/ipsec-policy"
VLANS = "/objects/net/vlan"
MANY = 10_000


def names(page: Page) -> list[str]:
    return [row[0] for row in page.rows]


def column(page: Page, position: int) -> list[str]:
    return [row[position] for row in page.rows]


@pytest.fixture
def vlans(house: House) -> None:
    for number in (9, 10, 200):
        house.make("net vlan", f"/Common/vlan-{number}", tag=str(number), interfaces=[{"name": f"e{number}"}])


@pytest.mark.usefixtures("vlans")
def test_a_search_finds_in_names(ann: Browser) -> None:
    assert names(ann.open(f"{VLANS}?search=VLAN-2")) == ["vlan-200"]
    assert ann.open(f"{VLANS}?search=nothing-like-it").rows == [["Nothing fits the search."]]


@pytest.mark.usefixtures("vlans")
@pytest.mark.parametrize("search", ["tag:200", "Tag:200", "interfaces:e200", "TAG: 200"])
def test_a_search_in_a_column(ann: Browser, search: str) -> None:
    assert names(ann.open(f"{VLANS}?search={search}")) == ["vlan-200"]


def test_a_colon_that_names_no_column_is_searched_for(ann: Browser, house: House) -> None:
    house.make("net self", "/Common/six", address="fd00:7::1/64", vlan="/Common/external")
    assert names(ann.open("/objects/net/self?search=fd00:7")) == ["six"]


def test_a_column_is_searched_in_the_words_that_it_shows(ann: Browser) -> None:
    assert names(ann.open(f"{SELECTORS}?search=Direction:out")) == ["selector-out"]
    assert names(ann.open(f"{SELECTORS}?search=IPsec%20Policy%20Name:policy-out")) == ["selector-out"]
    assert names(ann.open(f"{SELECTORS}?search=IPsec%20Policy%20Name:policy-none")) == ["Nothing fits the search."]


@pytest.mark.usefixtures("vlans")
def test_lists_are_sorted_both_ways_and_numbers_as_numbers(ann: Browser) -> None:
    plain = ann.open(VLANS)
    assert names(plain) == ["external", "vlan-10", "vlan-200", "vlan-9"]
    assert names(ann.open(VLANS + plain.reading.links["Name"])) == names(plain)[::-1]
    up = ann.open(VLANS + plain.reading.links["Tag"])
    tags = [int(tag) for tag in column(up, 1)]
    assert tags == sorted(tags)
    down = ann.open(VLANS + up.reading.links["Tag"])
    assert [int(tag) for tag in column(down, 1)] == tags[::-1]
    assert 'aria-sort="descending"' in down.text and 'aria-sort="ascending"' in up.text


@pytest.mark.usefixtures("vlans")
@pytest.mark.parametrize(
    "words",
    [
        *("page=0", "page=-1", "page=x", "page=99", "size=1", "size=x", "sort=nothing", "sort=csrf", "down=x"),
        "page=" + "9" * 5000,
        "size=" + "9" * 5000,
        "search=" + "a" * 5000,
    ],
)
def test_a_view_that_there_isnt_is_the_nearest_one(ann: Browser, words: str) -> None:
    page = ann.open(f"{VLANS}?{words}")
    assert page.title == "VLANs" and (words.startswith("search") or len(page.rows) == 4)


def test_ten_thousand_objects_are_paged_by_their_names_alone(house: House, ann: Browser) -> None:
    text = "".join(f"net ipsec ipsec-policy /Common/p{number:05} {{ }}\n" for number in range(MANY))
    house.inside.root("load", text=text, merge=True)
    before = len(house.names("net ipsec ipsec-policy"))
    assert before >= MANY
    house.door.calls.clear()
    page = ann.open(f"{POLICIES}?search=p0&size=100&page=100")
    assert page.said("count") == ["10000 in all"] and "Page 100 of 100" in page.text
    assert names(page) == [f"p{number:05}" for number in range(9900, 10_000)]
    asked = [args for name, args in house.door.calls if name == "list"]
    assert [args.get("names_only") for args in asked] == [True, None] and len(asked[1]["names"]) == 100
    assert page.reading.links["Previous"].endswith("page=99") and "Next" not in page.reading.links
    assert len(page.text) < 100_000


def test_the_lines_of_a_page(house: House, ann: Browser) -> None:
    text = "".join(f"net ipsec ipsec-policy /Common/p{number:05} {{ }}\n" for number in range(120))
    house.inside.root("load", text=text, merge=True)
    assert [len(ann.open(f"{POLICIES}?search=p0&size={size}").rows) for size in (25, 50, 100, 250)] == [
        25,
        50,
        100,
        120,
    ]
    first = ann.open(f"{POLICIES}?search=p0&size=50")
    second = ann.open(POLICIES + first.reading.links["Next"])
    assert names(second)[0] == "p00050" and names(ann.open(POLICIES + second.reading.links["Last"]))[-1] == "p00119"


def test_htmx_gets_the_table_alone(ann: Browser) -> None:
    part = ann.ask("GET", f"{VLANS}?search=ext", hx_request="true")
    assert part.status == 200 and "<html" not in part.text and names(part) == ["external"]


def test_an_object_that_goes_while_the_list_is_made_is_left_out(
    house: House, ann: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = house.door.call

    def call(self: object, credentials: object, name: str, /, **args: object) -> object:
        if "names" in args and args.get("kind") == "net vlan":
            args["names"] = ["/Common/gone", *args["names"]]  # type: ignore[misc]
        return asked(credentials, name, **args)  # type: ignore[arg-type]

    monkeypatch.setattr(type(house.door), "call", call)
    assert names(ann.open(VLANS)) == ["external"]


# deleting


def deleted(ann: Browser, where: str, *selected: str, action: str = "delete") -> Page:
    return ann.ask("POST", where, [("csrf", ann.csrf), ("do", action), *(("select", own) for own in selected)])


@pytest.mark.usefixtures("vlans")
def test_many_are_deleted_after_a_second_look(house: House, ann: Browser) -> None:
    chosen = ("/Common/vlan-9", "/Common/vlan-10")
    page = deleted(ann, VLANS, *chosen)
    assert page.title == "Delete VLANs" and page.said("li")[-2:] == [*chosen]
    assert set(chosen) < set(house.names("net vlan")), "it was only asked"
    last = ann.follow(ann.send(page, "Delete", VLANS))
    assert last.said("done") == ["2 VLANs deleted."] and not set(chosen) & set(house.names("net vlan"))


@pytest.mark.usefixtures("vlans")
def test_what_stands_in_the_way_is_named_and_the_others_can_go(house: House, ann: Browser) -> None:
    page = deleted(ann, VLANS, "/Common/external", "/Common/vlan-9")
    assert page.status == 400 and "Nothing was." in page.said("alert")[0]
    assert any("in use by a" in text and "/Common/outside" in text for text in page.said("li"))
    ann.follow(ann.send(page, "Delete the others", VLANS))
    assert "/Common/external" in house.names("net vlan") and "/Common/vlan-9" not in house.names("net vlan")


def test_one_that_is_used_names_its_user(ann: Browser) -> None:
    page = deleted(ann, POLICIES, "/Common/policy-out")
    assert "in use by a" in page.said("alert")[0] and "Delete" not in page.form().buttons


def test_objects_that_can_only_go_together_do(house: House, ann: Browser) -> None:
    page = deleted(ann, SELECTORS, "/Common/selector-out", "/Common/selector-in")
    ann.follow(ann.send(page, "Delete", SELECTORS))
    assert house.names("net ipsec traffic-selector") == ["/Common/default-traffic-selector-interface"]


@pytest.mark.parametrize("selected", [(), ("all",), ("",)])
def test_nothing_chosen_deletes_nothing(house: House, ann: Browser, selected: tuple[str, ...]) -> None:
    before = house.names("net vlan")
    for action in ("delete", "confirmed"):
        assert deleted(ann, VLANS, *selected, action=action).location == VLANS
    assert house.names("net vlan") == before


def test_a_pattern_is_no_name(house: House, ann: Browser) -> None:
    deleted(ann, VLANS, "/Common/*", action="confirmed")
    assert house.names("net vlan") == ["/Common/external"]
    assert ann.ask("GET", f"{VLANS}/~Common~*").status == 404


def test_second_thoughts(house: House, ann: Browser) -> None:
    page = deleted(ann, SELECTORS, "/Common/selector-out")
    assert ann.send(page, "Cancel", SELECTORS).location == SELECTORS
    assert "/Common/selector-out" in house.names("net ipsec traffic-selector")


def test_whoever_changes_nothing_is_offered_no_buttons(house: House) -> None:
    house.inside.user("guy", "guest")
    page = house.browser("guy").open(VLANS)
    assert "Create..." not in page.text and "Delete..." not in page.form().buttons
