"""Hostile requests, in process: script, forged forms, stolen and made-up sessions, and roles that reach further."""

import itertools
from urllib.parse import quote, urlencode

import pytest

from culvert.web import rendering, session
from culvert.web.visit import FIELDS_MAX
from tests.control.guarded import HOME, PASSWORD
from tests.web.looking import Browser, Fields, House, Page, entries, screens

SCRIPT = "\"'><script>alert(1)</script><img src=x onerror=alert(1)>{{7*190931}}</textarea></select>"
POLICIES = "/objects/net/ipsec/ipsec-policy"
VLANS = "/objects/net/vlan"
USERS = "/objects/auth/user"
READING = {
    *("list", "show", "describe", "access", "extend", "explain", "verify", "text", "generations", "audit", "token"),
    "capture-state",
}
"""Calls that change nothing."""
PLACES = sorted({*(own.address for own in entries()), *screens(), "/", "/suggest/net/vlan"})


def is_inert(page: Page) -> None:
    assert "<script>alert" not in page.text and "<img src=x" not in page.text
    assert "1336517" not in page.text, "no template is made of what was typed"


# script


def test_script_in_descriptions_stays_text(house: House, ann: Browser) -> None:
    makes = [
        ("net vlan", "/Common/vx", {"tag": "99"}),
        ("net ipsec ipsec-policy", "/Common/px", {}),
        ("auth partition", "px", {}),
        ("sys log-config publisher", "/Common/px", {}),
        ("net route-domain", "/Common/rx", {"id": "7"}),
    ]
    for kind, name, properties in makes:
        house.make(kind, name, description=SCRIPT, **properties)
        base = f"/objects/{kind.replace(' ', '/')}"
        for url in (base, f"{base}/{quote(name.replace('/', '~'), safe='~')}", f"{base}?search=alert"):
            page = ann.open(url)
            is_inert(page)
        select = [("csrf", ann.csrf), ("do", "delete"), ("select", name)]
        is_inert(ann.ask("POST", base, select))
    assert "&lt;script&gt;" in ann.open(POLICIES).text


def test_script_in_addresses_stays_text(ann: Browser) -> None:
    shown = ("search", "sort", "size", "page", "down", "said", "name", "advice", "sign", "configuration", "tag", "next")
    words = urlencode(dict.fromkeys(shown, SCRIPT))
    for url in (VLANS, f"{VLANS}/new", f"{VLANS}/~Common~external", "/login", *(own.address for own in entries())):
        is_inert(ann.ask("GET", f"{url}?{words}"))
        is_inert(ann.ask("GET", f"{url}?{words}", hx_request="true"))
    for url in (
        f"/{quote(SCRIPT)}",
        f"{VLANS}/{quote(SCRIPT, safe='')}",
        f"/suggest/{quote(SCRIPT)}",
        f"/assets/{quote(SCRIPT)}",
    ):
        page = ann.ask("GET", url)
        assert page.status == 404
        is_inert(page)


def test_script_in_forms_stays_text(ann: Browser) -> None:
    for where in (url for url in screens() if url.endswith("/new")):
        form = ann.open(f"{where}?configuration=Advanced").form()
        fields = [(name, SCRIPT if name not in ("csrf", "generation") else value) for name, value in form.fields()]
        for button in ("finished", "refresh"):
            is_inert(ann.ask("POST", where, [*fields, ("configuration", "Advanced"), ("do", button)]))
    select = [("csrf", ann.csrf), ("do", "delete"), ("select", SCRIPT)]
    is_inert(ann.ask("POST", VLANS, select))


def test_script_at_the_login_stays_text(house: House) -> None:
    for user, wanted in ((SCRIPT, SCRIPT), ("ann", "/" + SCRIPT)):
        is_inert(Browser(house).ask("POST", "/login", [("username", user), ("password", SCRIPT), ("next", wanted)]))


# forged forms


def posts(csrf: str) -> list[tuple[str, Fields]]:
    """Everything that objects can be asked to do, but what is proven by `csrf`."""
    proof = [("csrf", csrf)] if csrf else []
    return [
        (f"{VLANS}/new", [*proof, ("name", "forged"), ("tag", "66"), ("do", "finished")]),
        (f"{VLANS}/~Common~external", [*proof, ("description", "forged"), ("do", "update")]),
        (VLANS, [*proof, ("select", "/Common/external"), ("do", "confirmed")]),
        (f"{USERS}/new", [*proof, ("name", "eve"), ("password", "a long password"), ("do", "finished")]),
        ("/logout", proof),
    ]


def test_forms_of_others_are_refused(house: House, ann: Browser) -> None:
    other = house.browser("ann").csrf
    assert other != ann.csrf
    ours = ann.csrf
    for csrf in ("", other, ours[:-1], ours.upper(), "0" * 64, "é"):
        for url, form in posts(csrf):
            house.door.calls.clear()
            assert ann.ask("POST", url, form).status == 403
            assert not {name for name, _ in house.door.calls} - READING
    assert house.names("net vlan") == ["/Common/external"] and "eve" not in house.names("auth user")
    ann.open(VLANS)


@pytest.mark.parametrize("url", PLACES)
def test_no_page_takes_a_form_without_proof(house: House, ann: Browser, url: str) -> None:
    house.door.calls.clear()
    for form in ([], [("do", "finished"), ("name", "x")], [("csrf", ""), ("do", "save")]):
        assert ann.ask("POST", url, form).status in (403, 400)
    assert not {name for name, _ in house.door.calls} - READING


def test_a_body_that_is_no_form_is_refused(house: House, ann: Browser) -> None:
    for media in ("application/json", "text/plain", "multipart/form-data; boundary=x", ""):
        page = ann.ask("POST", f"{VLANS}/new", [("csrf", ann.csrf), ("name", "x")], content_type=media)
        assert page.status == 415
    assert house.names("net vlan") == ["/Common/external"]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_looking_changes_nothing(house: House, ann: Browser, method: str) -> None:
    csrf = ann.csrf
    house.door.calls.clear()
    urls = [*PLACES, "/logout", f"{VLANS}/~Common~external", "/login", "/objects", "/nothing"]
    verbs = (
        "finished",
        "update",
        "delete",
        "confirmed",
        "save",
        "load",
        "rollback",
        "start",
        "stop",
        "generate",
        "clear",
    )
    for url, verb in itertools.product(urls, verbs):
        words = {
            "csrf": csrf,
            "do": verb,
            "action": verb,
            "name": "x",
            "select": "/Common/external",
            "description": "x",
        }
        page = ann.ask(method, f"{url}?{urlencode(words)}")
        assert page.status in (200, 303, 400, 404), (url, verb, page.status)
    assert not {name for name, _ in house.door.calls} - READING
    assert house.properties("net vlan", "/Common/external")["description"] == "outside"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get", "X"])
def test_other_methods_are_not_allowed(ann: Browser, method: str) -> None:
    for url in (*PLACES, "/login", "/logout", "/assets/culvert.css"):
        page = ann.ask(method, url, [("csrf", ann.csrf)])
        assert page.status == 405 and page.answer.headers["Allow"] == "GET, HEAD, POST"


# sessions


def test_the_cookie_is_for_this_host_alone_and_no_scripts(house: House) -> None:
    page = Browser(house).login("ann")
    name, *attributes = [own.strip() for own in page.answer.headers["Set-Cookie"].split(";")]
    assert name.startswith("__Host-culvert=") and len(name) > 40
    assert set(attributes) == {"Path=/", "Secure", "HttpOnly", "SameSite=Strict"}


def test_nobody_is_let_in_without_a_session(house: House) -> None:
    stranger = Browser(house)
    for url in (*PLACES, "/logout", "/nothing"):
        house.door.calls.clear()
        page = stranger.ask("GET", url)
        assert (page.status, page.text) == (303, "") and page.location.startswith("/login")
        assert not house.door.calls, "who isn't anybody costs culvertd nothing"
        assert stranger.ask("POST", url, [("csrf", "x")]).location.startswith("/login")


@pytest.mark.parametrize("token", ["A" * 26, "a", "../../etc", "A" * 10_000, "ÄÖ", '"quoted"', "a b", "x%0d%0a"])
def test_a_cookie_of_ones_own_making_is_nothing(house: House, token: str) -> None:
    mallory = Browser(house)
    mallory.token = token
    page = mallory.ask("GET", VLANS)
    assert page.status == 303 and page.location.startswith("/login")
    mallory.token = token
    csrf = session.Session(house.door, token, HOME).csrf  # type: ignore[arg-type]
    page = mallory.ask("POST", f"{VLANS}/new", [("csrf", csrf), ("name", "x"), ("do", "finished")])
    assert page.status == 303 and page.location.startswith("/login")
    assert house.names("net vlan") == ["/Common/external"]


def test_a_login_never_takes_over_a_session_that_was_there(house: House) -> None:
    victim = Browser(house)
    victim.token = "B" * 26
    page = victim.login("ann")
    assert victim.token != "B" * 26 and len(victim.token) == 26
    attacker = Browser(house)
    attacker.token = "B" * 26
    assert attacker.ask("GET", VLANS).status == 303 and page.status == 303


def test_other_cookies_are_no_matter_of_ours(house: House, ann: Browser) -> None:
    for others in ('a="b; c', "x={'y': [1]}", "__Host-culverts=Z", "culvert=Z", "=", ";;;", "a=\x7f"):
        own = f"__Host-culvert={ann.token}"
        for cookie in (f"{others}; {own}", f"{own}; {others}"):
            assert ann.ask("GET", VLANS, cookie=cookie).status == 200
        assert ann.ask("GET", VLANS, cookie=others).status == 303


def test_a_session_is_over_after_its_time(house: House, ann: Browser) -> None:
    house.inside.seconds += session.IDLE_SECONDS - 1
    ann.open(VLANS)
    house.inside.seconds += session.IDLE_SECONDS - 1
    ann.open(VLANS)
    house.inside.seconds += session.IDLE_SECONDS + 1
    page = ann.ask("GET", f"{VLANS}?search=x")
    assert page.location == "/login?next=%2Fobjects%2Fnet%2Fvlan&over=1" and ann.token == ""
    assert "The session is over" in ann.open(page.location).text


@pytest.mark.parametrize("url", [url for url in PLACES if url != "/"])
def test_a_page_that_renews_itself_keeps_no_session_alive(house: House, ann: Browser, url: str) -> None:
    for _ in range(3):
        house.inside.seconds += session.IDLE_SECONDS / 3
        page = ann.ask("GET", f"{url}?renew=1", hx_request="true")
    assert page.status == 200 and page.answer.headers["HX-Redirect"].startswith("/login")
    assert page.text == ""


def test_nobody_works_for_ever_on_one_login(house: House, ann: Browser) -> None:
    for _ in range(40):
        house.inside.seconds += session.IDLE_SECONDS - 1
        if ann.ask("GET", VLANS).status != 200:
            return
    raise AssertionError("the session lives on")


def test_a_logout_ends_the_token_at_culvertd(house: House, ann: Browser) -> None:
    token, csrf = ann.token, ann.csrf
    page = ann.ask("POST", "/logout", [("csrf", csrf)])
    assert page.location == "/login" and "Max-Age=0" in page.answer.headers["Set-Cookie"] and ann.token == ""
    ann.token = token
    assert ann.ask("GET", VLANS).status == 303
    assert house.inside.refused("describe", {"token": token, "address": HOME}).http == 401


def test_a_stolen_token_is_of_no_use_elsewhere(house: House, ann: Browser) -> None:
    thief = Browser(house, "203.0.113.66")
    thief.token = ann.token
    assert thief.ask("GET", VLANS).status == 303
    ann.open(VLANS)


def test_a_changed_password_ends_the_sessions(house: House, ann: Browser) -> None:
    house.inside.root("modify", kind="auth user", name="ann", properties={"password": "another long one"})
    assert ann.ask("GET", VLANS).status == 303


# where to go after the login


@pytest.mark.parametrize(
    "wanted",
    [
        "//evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example", "javascript:alert(1)",
        "evil", "", "/\t/evil", "/\r\nSet-Cookie: a=b", "/x\r\nLocation: //evil", "/é", "/" + "a" * 501,
        "/login", "/login?next=/login", "/logout", " //evil", "%2f%2fevil.example", "http:evil", "/\x00",
    ],
)  # fmt: skip
def test_a_login_leads_nowhere_else(house: House, wanted: str) -> None:
    assert Browser(house).login("ann", wanted=wanted).location == "/map"
    shown = Browser(house).ask("GET", f"/login?{urlencode({'next': wanted})}")
    assert 'name="next" value=""' in shown.text


@pytest.mark.parametrize("wanted", ["/objects/net/vlan", "/objects/net/vlan/~Common~a%20b", "/map", "/a//b"])
def test_a_login_leads_to_where_one_wanted_to_go(house: House, wanted: str) -> None:
    stranger = Browser(house)
    assert stranger.login("ann", wanted=wanted).location == wanted
    page = Browser(house).ask("GET", wanted)
    assert page.location == f"/login?{urlencode({'next': wanted.replace('//', '/')})}"


# guessing


def test_guessing_is_slowed_down_and_says_nothing(house: House) -> None:
    stranger = Browser(house, "198.51.100.4")
    known = [stranger.login("ann", f"wrong-{number}") for number in range(4)]
    unknown = [stranger.login("nobody", f"wrong-{number}") for number in range(4)]
    said = {(page.status, *page.said("alert")) for page in known + unknown}
    assert said == {(401, "The user name or the password is wrong.")}
    assert {page.text.replace("nobody", "ann") for page in unknown} == {known[0].text}
    for _ in range(3):
        last = stranger.login("ann", "wrong again")
    assert last.status == 429 and "Too many attempts failed" in last.said("alert")[0]
    assert stranger.login("ann").status == 429, "nor is the right one taken now"
    assert Browser(house).login("ann").status == 303, "the user is let in from elsewhere"


def test_whoever_has_no_access_is_told_the_same(house: House) -> None:
    house.inside.user("out", "no-access")
    page = Browser(house).login("out")
    assert (page.status, page.said("alert")) == (401, ["The user name or the password is wrong."])


def test_a_password_is_never_shown_again(house: House) -> None:
    page = Browser(house).login("ann", PASSWORD + "x")
    assert PASSWORD not in page.text


# sizes and ways


def test_a_form_of_too_many_fields_is_refused(house: House, ann: Browser) -> None:
    fields = [("csrf", ann.csrf), ("do", "finished"), ("name", "x"), ("tag", "66")]
    many = [(f"f{number}", "") for number in range(FIELDS_MAX)]
    assert ann.ask("POST", f"{VLANS}/new", [*fields, *many]).status == 400
    assert house.names("net vlan") == ["/Common/external"]


def test_members_without_end_are_refused(house: House, ann: Browser) -> None:
    many = [(f"interfaces.{number}.name", f"e{number}") for number in range(FIELDS_MAX - 10)]
    page = ann.ask("POST", f"{VLANS}/new", [("csrf", ann.csrf), ("name", "x"), ("interfaces.", ""), *many])
    assert page.status == 400 and "one interface is allowed" in page.text


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../site.py", "/assets/..%2fsite.py", "/assets/%2e%2e%2fsite.py", "/assets/culvert.css/x", "/assets",
        "/assets/__init__.py", "/assets/%00", "/objects/..%2f..%2fetc%2fpasswd", "/objects/foreign", "/objects/net",
        "/objects/net/ipsec", "/objects/net/vlan/a/b", "/suggest/foreign", "/suggest/", "/objects/__class__",
        "/mgmt2", "/templates/frame.html", "/objects/net/vlan/new/x", "/logins", "/login/x", "/favicon.ico/x",
    ],
)  # fmt: skip
def test_ways_that_lead_nowhere(ann: Browser, path: str) -> None:
    page = ann.ask("GET", path)
    assert page.status == 404 and "def answer" not in page.text and "root:" not in page.text


def test_octets_that_are_no_text(ann: Browser) -> None:
    for raw in ("%ff%fe", "%c0%af", "%00", "%0d%0aX-Injected:%201", "%e2%80%ae", "\x85", "%u0000"):
        for url in (
            f"{VLANS}/{raw}",
            f"{VLANS}?search={raw}",
            f"/{raw}",
            f"/suggest/net/vlan?x={raw}",
            f"/login?next=/{raw}",
        ):
            page = ann.ask("GET", url)
            assert page.status < 500
            assert "X-Injected" not in page.answer.headers


def test_a_name_with_the_end_of_a_line(house: House, ann: Browser) -> None:
    for name in ("x\r\nSet-Cookie: a=b", "x\nLocation: //evil", "x\0", "x\u2028y"):
        page = ann.ask("POST", f"{USERS}/new", [("csrf", ann.csrf), ("name", name), ("do", "finished")])
        assert page.status == 400
        page = ann.ask("POST", USERS, [("csrf", ann.csrf), ("select", name), ("do", "confirmed")])
        assert page.status in (400, 404)


def test_pages_are_made_of_what_was_read_before_root_was_given_up(
    house: House, ann: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    rendering.prepare()

    def closed(*args: object, **words: object) -> None:
        raise PermissionError(13, "not for this user")

    for place in ("builtins.open", "io.open", "os.stat", "pathlib.Path.open", "pathlib.Path.read_bytes"):
        monkeypatch.setattr(place, closed)
    for url in (VLANS, f"{VLANS}/new", "/login", "/nothing", *(f"/assets/{name}" for name in rendering.ASSETS)):
        assert ann.ask("GET", url).status in (200, 404)
