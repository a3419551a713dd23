"""Forms: what each field takes, what is wrong told where it is wrong, and every button."""

import pytest

from tests.web.looking import KEYS, Browser, House, Page

POLICIES = "/objects/net/ipsec/ipsec-policy"
SAS = "/objects/net/ipsec/manual-security-association"
SELECTORS = "/objects/net/ipsec/traffic-selector"
VIRTUALS = "/objects/ltm/virtual"
VLANS = "/objects/net/vlan"
USERS = "/objects/auth/user"
SA = {
    "Name": "sa-new",
    "SPI": "2001",
    "Source Address": "2.2.2.2",
    "Destination Address": "3.3.3.3",
    "Authentication Key": KEYS[0],
    "Encryption Key": KEYS[1],
    "IPsec Policy Name": "policy-out",
}


def labels(page: Page) -> list[str]:
    return [own.label for own in page.form().controls if own.kind not in ("button", "hidden") and own.label]


def wrong(page: Page) -> dict[str, str]:
    """What is told at which field."""
    found = {}
    for part in page.text.split('<div class="row wrong">')[1:]:
        label = part.partition("</label>")[0].partition(">")[2].partition("<")[0].strip()
        found[label or "?"] = part.partition('class="error" role="alert">')[2].partition("</p>")[0]
    return found


# every type of field


def test_a_virtual_server_as_the_procedure_says(house: House, ann: Browser) -> None:
    new = f"{VIRTUALS}/new"
    assert ann.open(new).title == "New Virtual Server"
    made = ann.fill(new, {
        "Name": "vs", "Type": "Forwarding (IP)", "Destination Address/Mask": "0.0.0.0/0", "Service Port": "*All Ports",
        "Protocol": "*All Protocols", "VLAN and Tunnel Traffic": "All VLANs and Tunnels",
    })  # fmt: skip
    listed = ann.follow(made)
    assert listed.said("done") == ["vs was created."] and listed.title == "Virtual Servers"
    own = house.properties("ltm virtual", "/Common/vs")
    assert (own["destination"], own["mask"], own["ip-forward"]) == ("/Common/0.0.0.0:0", "any", True)


def test_an_address_port_and_list_of_a_virtual_server(house: House, ann: Browser) -> None:
    form = {"Name": "vs6", "Destination Address/Mask": "fd00:2::/64", "VLAN and Tunnel Traffic": "Enabled on..."}
    page = ann.fill(f"{VIRTUALS}/new", form, "Refresh")
    assert "vlans" in {own.name for own in page.form().controls}, "the list belongs to the choice above it"
    form |= {"Service Port": "Other...", "service-port.other": "8443", "Source Address": "::/0"}
    made = ann.send(page, "Finished", f"{VIRTUALS}/new", form | {"vlans": ["/Common/external"]})
    page = ann.open(ann.follow(made).reading.links["vs6"])
    assert page.form().control("Service Port").values == ["*other"]
    assert page.form().control("service-port.other").values == ["8443"]
    assert page.form().control("Destination Address/Mask").values == ["fd00:2::/64"]
    own = house.properties("ltm virtual", "/Common/vs6")
    assert own["vlans"] == ["/Common/external"] and own["vlans-enabled"] is True


def test_the_interface_of_a_vlan(house: House, ann: Browser) -> None:
    form = {"Name": "trunk", "Tag": "77", "interfaces.0.name": "Other...", "interfaces.0.name.other": "other"}
    ann.follow(ann.fill(f"{VLANS}/new", form | {"interfaces.0.tagged": "Tagged"}))
    assert house.properties("net vlan", "/Common/trunk")["interfaces"] == [{"name": "other", "tagged": True}]
    place = f"{VLANS}/~Common~trunk"
    ann.follow(ann.fill(place, {"interfaces.0.tagged": "Untagged"}, "Update"))
    assert house.properties("net vlan", "/Common/trunk")["interfaces"] == [{"name": "other", "tagged": False}]
    ann.follow(ann.fill(place, {"interfaces.0.name": "", "interfaces.0.name.other": ""}, "Update"))
    assert house.properties("net vlan", "/Common/trunk")["interfaces"] == []


def test_members_come_and_go(house: House, ann: Browser) -> None:
    house.make("auth partition", "other")
    new, password = f"{USERS}/new", {"Password": "some pass phrase"}
    form = {"Name": "bob", "partition-access.0.name": "Sales", "partition-access.0.role": "manager"}
    page = ann.fill(new, form, "Add another")
    more = {"partition-access.1.name": "other", "partition-access.1.role": "operator"}
    ann.follow(ann.send(page, "Finished", new, more | password))
    both = house.properties("auth user", "bob")["partition-access"]
    assert both == [{"name": "Sales", "role": "manager"}, {"name": "other", "role": "operator"}]
    ann.follow(ann.fill(f"{USERS}/bob", {"partition-access.0.name": ""}, "Update"))
    assert house.properties("auth user", "bob")["partition-access"] == both[1:]


def test_as_many_members_as_there_are(house: House, ann: Browser) -> None:
    names = [f"/Common/v{number:03}" for number in range(300)]
    text = "".join(f"net vlan {name} {{ tag {number + 100} }}\n" for number, name in enumerate(names))
    house.inside.root("load", text=text, merge=True)
    house.make("net ipsec ipsec-policy", "/Common/x")
    house.make("ltm virtual", "/Common/wide", destination="0.0.0.0:any", mask="any", ip_forward=True, vlans=names)
    place = f"{VIRTUALS}/~Common~wide"
    ann.follow(ann.fill(place, {"Description": "still all of them"}, "Update"))
    own = house.properties("ltm virtual", "/Common/wide")
    assert own["vlans"] == names and own["description"] == "still all of them"


def test_names_with_spaces_in_boxes_and_lines(house: House, ann: Browser) -> None:
    house.make("net vlan", "/Common/the inner one", tag="5", interfaces=[{"name": "e5"}])
    form = {"Name": "vs2", "Destination Address/Mask": "10.0.0.0/8", "VLAN and Tunnel Traffic": "Enabled on..."}
    page = ann.fill(f"{VIRTUALS}/new", form, "Refresh")
    ann.follow(ann.send(page, "Finished", f"{VIRTUALS}/new", {"vlans": ["/Common/the inner one"]}))
    assert house.properties("ltm virtual", "/Common/vs2")["vlans"] == ["/Common/the inner one"]
    assert ann.open(f"{VLANS}/~Common~the%20inner%20one").title == "VLAN Properties"


def test_a_reference_out_of_many_is_typed(house: House, ann: Browser) -> None:
    text = "".join(f"net ipsec ipsec-policy /Common/p{number:03} {{ }}\n" for number in range(250))
    house.inside.root("load", text=text, merge=True)
    page = ann.open(f"{SAS}/new")
    own = page.form().control("IPsec Policy Name")
    assert own.kind == "text" and 'hx-get="/suggest/net/ipsec/ipsec-policy"' in page.text
    found = ann.ask("GET", "/suggest/net/ipsec/ipsec-policy?ipsec-policy=olicy-o&renew=1", hx_request="true")
    assert found.text.count("<option") == 1 and "/Common/policy-out" in found.text
    made = ann.send(page, "Finished", f"{SAS}/new", SA | {"IPsec Policy Name": "/Common/policy-out", "SPI": "7777"})
    ann.follow(made)


def test_a_user_with_a_password_and_roles(house: House, ann: Browser) -> None:
    form = {"Name": "new", "Password": " a pass phrase ", "partition-access.0.name": "Sales"}
    page = ann.fill(f"{USERS}/new", form | {"partition-access.0.role": "manager"})
    listed = ann.follow(page)
    assert house.browser("ann") and house.properties("auth user", "new")["partition-access"] == [
        {"name": "Sales", "role": "manager"}
    ]
    made = Browser(house)
    assert made.login("new", " a pass phrase ").status == 303, "of a password nothing is cut off"
    page = ann.open(listed.reading.links["new"])
    assert page.title == "User Properties" and "pass phrase" not in page.text, "a user may be called new"


def test_a_switch(house: House, ann: Browser) -> None:
    place = f"{VIRTUALS}/~Common~forward-all"
    for words, value in (("Disabled", False), ("Enabled", True)):
        ann.follow(ann.fill(place, {"State": words}, "Update"))
        assert house.properties("ltm virtual", "/Common/forward-all")["enabled"] is value


def test_a_text_keeps_its_own_ends(house: House, ann: Browser) -> None:
    house.make("net ipsec ipsec-policy", "/Common/spaced", description=" in the middle ")
    page = ann.fill(f"{POLICIES}/~Common~spaced", {}, "Update")
    assert ann.follow(page).said("done") == ["spaced is as it was: nothing was changed."]
    assert house.properties("net ipsec ipsec-policy", "/Common/spaced")["description"] == " in the middle "


def test_an_emptied_text_is_none(house: House, ann: Browser) -> None:
    ann.follow(ann.fill(f"{VLANS}/~Common~external", {"Description": ""}, "Update"))
    assert house.properties("net vlan", "/Common/external")["description"] == "none"


# what is wrong


@pytest.mark.parametrize(
    ("where", "changes", "field", "sentence"),
    [
        (SAS, {"SPI": "12"}, "SPI", "allowed"),
        (SAS, {"SPI": "4294967296"}, "SPI", "allowed"),
        (SAS, {"SPI": ""}, "SPI", "missing"),
        (SAS, {"SPI": "1001"}, "SPI", "/Common/sa-out"),
        (SAS, {"Source Address": "2.2.2.x"}, "Source Address", "2.2.2.x"),
        (SAS, {"Source Address": "9.9.9.9"}, "Source Address", "2.2.2.2"),
        (SAS, {"Destination Address": "9.9.9.9"}, "Destination Address", "3.3.3.3"),
        (SAS, {"Authentication Key": "short"}, "Authentication Key", "20"),
        (SAS, {"Encryption Key": "0x12"}, "Encryption Key", "16"),
        (SAS, {"Name": ""}, "Name", "missing"),
        (SAS, {"Name": "not/good/at\tall"}, "Name", "not a good name"),
        (SAS, {"Name": "sa-out"}, "Name", "already exists"),
        (SAS, {"Name": "all"}, "Name", "is no name"),
        (VIRTUALS, {"Name": "x", "Destination Address/Mask": "10.0.0.0/33"}, "Destination Address/Mask", "10.0.0.0/33"),
        (VIRTUALS, {"Name": "x", "Destination Address/Mask": ""}, "Destination Address/Mask", ""),
        (VLANS, {"Name": "x", "Tag": "5000"}, "Tag", "5000"),
        (USERS, {"Name": "x", "Password": "x"}, "Password", ""),
        (f"{SELECTORS}", {"Name": "x"}, "IPsec Policy Name", "missing"),
    ],
)
def test_what_is_wrong_is_told_at_its_field(
    ann: Browser, where: str, changes: dict[str, str], field: str, sentence: str
) -> None:
    form = SA | {"SPI": "9001"} | changes if where == SAS else changes
    page = ann.fill(f"{where}/new", form)
    assert page.status in (400, 409)
    told = wrong(page)
    assert field in told and sentence in told[field], (told, page.said("alert"))
    assert 'aria-invalid="true"' in page.text
    for label, text in form.items():
        if "Key" not in label and label != "Password":
            own = page.form().control(label)
            assert text in (*own.values, next((word for word in own.options if word == text), "")), "typed is typed"
    assert not any(key in page.text for key in KEYS)


def test_several_things_are_told_at_once(ann: Browser) -> None:
    told = wrong(ann.fill(f"{SAS}/new", SA | {"SPI": "9", "Source Address": "x"}))
    assert {"SPI", "Source Address"} <= told.keys()


def test_what_is_wrong_under_advanced_opens_advanced(ann: Browser) -> None:
    form = {"Name": "deep", "configuration": "Advanced"}
    page = ann.fill(f"{SELECTORS}/new", form, "Refresh")
    page = ann.send(page, "Finished", f"{SELECTORS}/new", {"configuration": "Basic", "Order": "x"})
    assert "Order" in wrong(page) and page.form().control("Configuration").values == ["Advanced"]


def test_a_field_that_is_out_of_sight_shows_when_it_is_wrong(ann: Browser) -> None:
    new = f"{POLICIES}/new"
    fields = [*ann.open(new).form().fields({"Name": "hid"}), ("tunnel-local-address", "x"), ("do", "finished")]
    page = ann.ask("POST", new, fields)
    assert "Tunnel Local Address" in wrong(page) or "x" in " ".join(page.said("alert"))


def test_a_key_that_was_typed_has_to_be_typed_again(ann: Browser) -> None:
    page = ann.fill(f"{SAS}/new", SA | {"SPI": "12"})
    assert page.text.count("type it again") == 2 and "leave empty to keep it" not in page.text
    assert "leave empty to keep it" in ann.open(f"{SAS}/~Common~sa-out").text


def test_one_whom_culvertd_refuses_is_told_so(house: House) -> None:
    house.inside.user("guy", "guest")
    guy = house.browser("guy")
    page = guy.ask("POST", f"{VLANS}/new", [("csrf", guy.csrf), ("name", "x"), ("do", "finished")])
    assert page.status == 403 and "may not create net vlan" in page.said("alert")[0]


# the buttons


def test_cancel_goes_back(house: House, ann: Browser) -> None:
    assert ann.fill(f"{VLANS}/new", {"Name": "x"}, "Cancel").location == VLANS
    assert ann.fill(f"{VLANS}/~Common~external", {"Description": "x"}, "Cancel").location == VLANS
    assert house.properties("net vlan", "/Common/external")["description"] == "outside"


def test_repeat_makes_one_and_offers_the_next(house: House, ann: Browser) -> None:
    page = ann.follow(ann.fill(f"{POLICIES}/new", {"Name": "first"}, "Repeat"))
    assert page.title == "New Policy" and page.said("done") == ["first was created."]
    ann.follow(ann.send(page, "Finished", f"{POLICIES}/new", {"Name": "second"}))
    assert {"/Common/first", "/Common/second"} <= set(house.names("net ipsec ipsec-policy"))


def test_update_changes_what_was_changed_alone(house: House, ann: Browser) -> None:
    house.door.calls.clear()
    page = ann.follow(ann.fill(f"{VLANS}/~Common~external", {"Description": "elsewhere"}, "Update"))
    assert page.said("done")[0].startswith("external was updated")
    asked = [args for name, args in house.door.calls if name == "transaction"]
    assert [args["operations"][0]["properties"] for args in asked] == [{"description": "elsewhere"}]


def test_delete_on_the_page_of_an_object(house: House, ann: Browser) -> None:
    place = f"{SELECTORS}/~Common~selector-out"
    page = ann.fill(place, {}, "Delete...")
    assert page.title == "Delete Traffic Selector" and "/Common/selector-out" in house.names(
        "net ipsec traffic-selector"
    )
    ann.follow(ann.send(page, "Delete", place))
    assert "/Common/selector-out" not in house.names("net ipsec traffic-selector")


def test_changed_meanwhile(house: House, ann: Browser) -> None:
    place = f"{VLANS}/~Common~external"
    page = ann.open(place)
    house.inside.root("modify", kind="net vlan", name="/Common/external", properties={"description": "theirs"})
    second = ann.send(page, "Update", place, {"Description": "mine"})
    assert "Somebody changed this meanwhile" in second.said("alert")[0]
    assert house.properties("net vlan", "/Common/external")["description"] == "theirs"
    assert second.form().control("Description").values == ["mine"]
    ann.follow(ann.send(second, "Update", place))
    assert house.properties("net vlan", "/Common/external")["description"] == "mine"


def test_gone_meanwhile(house: House, ann: Browser) -> None:
    place = f"{SELECTORS}/~Common~selector-out"
    page = ann.open(place)
    house.inside.root("delete", kind="net ipsec traffic-selector", name="/Common/selector-out")
    assert ann.send(page, "Update", place, {"Description": "x"}).status == 404


# what is shown when


def test_the_mode_brings_its_settings(ann: Browser) -> None:
    new = f"{POLICIES}/new"
    plain = ann.open(new)
    assert "Tunnel Local Address" not in plain.form()
    tunnel = ann.send(plain, "Refresh", new, {"Name": "pol", "Mode": "Tunnel", "Description": "kept"})
    shown = labels(tunnel)
    assert "Tunnel Local Address" in shown and "Tunnel Remote Address" in shown
    assert tunnel.form().control("Name").values == ["pol"] and tunnel.form().control("Description").values == ["kept"]
    assert "Tunnel Local Address" not in ann.send(tunnel, "Refresh", new, {"Mode": "Transport"}).form()
    assert "data-refreshes" in plain.text


def test_advanced_shows_more(ann: Browser) -> None:
    new = f"{SELECTORS}/new"
    basic = labels(ann.open(new))
    advanced = labels(ann.fill(new, {"Configuration": "Advanced"}, "Refresh"))
    assert set(basic) < set(advanced) and {"Order", "Action"} <= set(advanced) - set(basic)
    assert labels(ann.open(f"{new}?configuration=Advanced")) == advanced


def test_the_fields_of_the_procedure_in_its_order(ann: Browser) -> None:
    wanted = {
        f"{VIRTUALS}/new": (
            "Name", "Type", "Destination Address/Mask", "Service Port", "Protocol", "VLAN and Tunnel Traffic",
        ),
        f"{POLICIES}/new": (
            "Name", "IPsec Protocol", "Mode", "Tunnel Local Address", "Tunnel Remote Address",
            "Authentication Algorithm", "Encryption Algorithm", "Perfect Forward Secrecy", "IPComp", "Lifetime",
        ),
        f"{SAS}/new": (
            "Name", "Description", "SPI", "Source Address", "Destination Address", "Authentication Key",
            "Encryption Algorithm", "Encryption Key", "IPsec Policy Name",
        ),
        f"{SELECTORS}/new": (
            "Name", "Description", "Source IP Address or CIDR", "Source Port", "Destination IP Address or CIDR",
            "Destination Port", "Protocol", "Direction", "IPsec Policy Name",
        ),
    }  # fmt: skip
    for url, fields in wanted.items():
        changes = {"Mode": "Tunnel"} if url.startswith(POLICIES) else {}
        shown = labels(ann.fill(url, changes, "Refresh"))
        assert [label for label in shown if label in fields] == list(fields), (url, shown)


def test_the_defaults_of_the_procedure(ann: Browser) -> None:
    form = ann.open(f"{POLICIES}/new").form()
    assert (form.control("IPsec Protocol").values, form.control("Lifetime").values) == (["esp"], ["1440"])
    assert (form.control("IPComp").values, form.control("Mode").values) == (["none"], ["transport"])
    form = ann.open(f"{VIRTUALS}/new").form()
    assert form.control("VLAN and Tunnel Traffic").values == ["All VLANs and Tunnels"]


def test_advice_is_shown_and_cannot_be_put_there(ann: Browser) -> None:
    made = ann.fill(f"{SAS}/new", SA | {"SPI": "2001"})
    page = ann.follow(made)
    assert page.said("note") and "a key is used in /Common/sa-" in page.said("note")[0]
    assert ann.open(made.location.replace("advice=", "advice=Call+us.+")).said("note") == []
    assert ann.open(f"{SAS}?advice=Call+us&sign=&said=created&name=x").said("note") == []


def test_what_was_done_cannot_be_put_there(ann: Browser) -> None:
    for words in ("said=deleted&name=Everything", "said=created&name=x&sign=" + "0" * 32):
        assert ann.open(f"{VLANS}?{words}").said("done") == []


def test_objects_in_partitions(house: House, ann: Browser) -> None:
    made = ann.fill(f"{POLICIES}/new", {"Name": "theirs", "Partition": "Sales"})
    assert "/Sales/theirs" in house.names("net ipsec ipsec-policy")
    listed = ann.follow(made)
    assert listed.reading.links["/Sales/theirs"] == f"{POLICIES}/~Sales~theirs"
    assert ann.open(f"{POLICIES}/~Sales~theirs").title == "Policy Properties"


def test_an_address_fills_in_a_new_form(ann: Browser) -> None:
    form = ann.open(f"{SAS}/new?spi=4711&ipsec-policy=/Common/policy-in&auth-key=typed-in-the-address").form()
    assert form.control("SPI").values == ["4711"] and form.control("IPsec Policy Name").values == ["/Common/policy-in"]
    assert form.control("Authentication Key").values == [""]
    assert ann.open(f"{VLANS}/new?interfaces=e0&description=x").form().control("Description").values == ["x"]
