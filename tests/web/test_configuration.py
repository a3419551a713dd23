"""System > Configuration: saved and running, history, the way back, and texts in and out."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from culvert.web.diffs import difference
from tests.web.visitor import Looked, Visitor, visiting

HERE = "/configuration"
UPLOAD = f"{HERE}/upload"
SELF = "net self /Common/inside {\n    address 10.1.0.1/24\n    vlan /Common/internal\n}\n"
POLICY = """net ipsec ipsec-policy /Common/p {
    mode tunnel
    tunnel-local-address 2.2.2.2
    tunnel-remote-address 3.3.3.3
}
"""
KEY = "a key that is seen!!"
SA = f"""net ipsec manual-security-association /Common/sa {{
    auth-key "{KEY}"
    destination-address 3.3.3.3
    encrypt-key "sixteen letters!"
    ipsec-policy /Common/p
    source-address 2.2.2.2
    spi 1001
}}
"""


@pytest.fixture
def ann(tmp_path: Path) -> Iterator[Visitor]:
    with visiting(tmp_path, guy="guest", max="manager", rae="resource-admin", sue="auditor") as made:
        yield made


def bring(visitor: Visitor, text: str, action: str, confirmed: str = "", **headers: str) -> Looked:
    return visitor.look(UPLOAD, {"text": text, "do": action, "confirmed": confirmed}, **headers)


def lines(page: Looked) -> list[str]:
    """The lines of the differences that a page shows, with their signs."""
    found = re.findall(r'<span class="sign">(.)</span><span class="unseen">[a-z]*</span>([^<]*)</div>', page.text)
    return [sign + text for sign, text in found]


def describe(visitor: Visitor, text: str) -> None:
    visitor.inside.site.tmsh(f"modify net self inside description {text}")


# saved and running


def test_whether_running_differs_from_saved(ann: Visitor) -> None:
    assert "Nothing has been saved yet" in ann.look(HERE).text
    saved = ann.look(f"{HERE}/save", {})
    assert saved.status == 303
    page = ann.look(saved.headers["Location"])
    assert page.said("done") == ["Saved, as generation 1."]
    assert "The same as saved" in page.text and not lines(page)
    describe(ann, "new")
    page = ann.look(HERE)
    assert "Differs from what is saved" in page.text
    assert "+    description new" in lines(page) and "+ 1 added" in page.text and "- 0 removed" in page.text
    ann.look(f"{HERE}/save", {})
    assert "The same as saved" in ann.look(HERE).text


def test_the_history(ann: Visitor) -> None:
    for word in ("one", "two"):
        describe(ann, word)
        ann.look(f"{HERE}/save", {})
    page = ann.look(HERE)
    generations = ann.inside.root("generations")
    for own in generations:
        assert own["sha256"] in page.text and f">{own['octets']}<" in page.text
    assert page.text.index("Roll back to generation 2") < page.text.index("Roll back to generation 1")
    assert page.text.count('data-label="Who">ann<') == 2


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("1", "2", ["-    description one", "+    description two"]),
        ("2", "1", ["-    description two", "+    description one"]),
        ("1", "running", ["-    description one", "+    description three"]),
        ("saved", "2", []),
        ("saved", "running", ["-    description two", "+    description three"]),
    ],
)
def test_the_difference_of_any_two(ann: Visitor, old: str, new: str, expected: list[str]) -> None:
    for word in ("one", "two"):
        describe(ann, word)
        ann.look(f"{HERE}/save", {})
    describe(ann, "three")
    page = ann.look(f"{HERE}/difference?old={old}&new={new}")
    assert [own for own in lines(page) if own[0] != " "] == expected
    assert bool(page.said("done")) is not bool(expected)


@pytest.mark.parametrize(("which", "status"), [("9", 503), ("x", 404), ("../1", 404), ("-1", 404), ("1" * 12, 404)])
def test_a_generation_that_is_not_there(ann: Visitor, which: str, status: int) -> None:
    assert ann.look(f"{HERE}/difference?old={which}").status == status
    assert ann.look(f"{HERE}/rollback?generation={which}").status == status


def test_downloads(ann: Visitor) -> None:
    ann.inside.root("load", text=POLICY + SA, merge=True)
    ann.look(f"{HERE}/save", {})
    for which, name in (("running", "running"), ("saved", "saved"), ("1", "generation-1")):
        page = ann.look(f"{HERE}/text/{which}")
        assert page.headers["Content-Disposition"] == f'attachment; filename="culvert-{name}.conf"'
        assert "manual-security-association /Common/sa {" in page.text and "$M$" in page.text
        assert KEY not in page.text and "sixteen" not in page.text
    assert ann.look(f"{HERE}/text/7").status == 503


# the way back


def test_a_rollback_is_shown_before_it_is_done(ann: Visitor) -> None:
    ann.look(f"{HERE}/save", {})
    describe(ann, "newer")
    shown = ann.look(f"{HERE}/rollback?generation=1")
    assert "-    description newer" in lines(shown) and "Run generation 1" in shown.text
    assert ann.listed("net self")["/Common/inside"]["description"] == "newer", "looking changes nothing"
    done = ann.look(f"{HERE}/rollback", {"generation": "1"})
    told = ann.look(done.headers["Location"]).said("done")[0]
    assert "Generation 1 runs now" in told and "kept as generation 2" in told
    assert ann.listed("net self")["/Common/inside"].get("description", "none") in ("", "none")
    assert "description newer" in ann.look(f"{HERE}/text/2").text


def test_back_to_what_is_saved(ann: Visitor) -> None:
    describe(ann, "kept")
    ann.look(f"{HERE}/save", {})
    describe(ann, "passing")
    assert "Run what is saved" in ann.look(f"{HERE}/rollback?generation=saved").text
    ann.look(f"{HERE}/rollback", {"generation": "saved"})
    assert ann.listed("net self")["/Common/inside"]["description"] == "kept"


# texts from elsewhere


def test_all_that_is_wrong_with_a_text_is_told_with_line_and_column(ann: Visitor) -> None:
    text = "net self /Common/a {\n    address nowhere\n    vlan /Common/internal\n}\n"
    text += "net vlan /Common/b {\n    tag 9999\n}\n"
    for action in ("verify", "merge", "replace"):
        page = bring(ann, text, action)
        assert page.status == 400 and "2 things are wrong" in page.said("alert")[0]
        cells = re.findall(r'<td data-label="(?:Line|Column)" class="number">(\d+)</td>', page.text)
        assert cells[::2] == ["2", "6"]
        assert 'name="confirmed"' not in page.text
    assert "/Common/a" not in ann.listed("net self")


def test_a_text_that_is_not_one_is_told(ann: Visitor) -> None:
    assert "Type or choose" in bring(ann, " \r\n", "replace").said("alert")[0]
    assert bring(ann, "<script>alert(1)</script> {", "verify").text.count("<script>alert") == 0


def test_replace_is_confirmed_with_the_same_text(ann: Visitor) -> None:
    users = "".join(re.findall(r"auth user .*?\n}\n", ann.inside.root("text"), re.DOTALL))
    text = users + "net vlan /Common/internal {\n    interfaces {\n        lan0 { }\n    }\n}\n" + SELF
    shown = bring(ann, text.replace("\n", "\r\n"), "replace")
    assert "Everything that runs now goes" in shown.text
    assert any(own.startswith("-net self /Common/outside") for own in lines(shown))
    sign = shown.value("confirmed")
    for other, action, given in ((text + "# more\n", "replace", sign), (text, "merge", sign), (text, "replace", "x")):
        assert bring(ann, other, action, given).status == 200
    assert "/Common/outside" in ann.listed("net self")
    done = bring(ann, text, "replace", sign)
    assert done.status == 303 and "The text runs now" in ann.look(done.headers["Location"]).said("done")[0]
    assert set(ann.listed("net self")) == {"/Common/inside"}
    backup = re.search(r"backup=(\d+)", done.headers["Location"])
    assert backup is not None and "/Common/outside" in ann.look(f"{HERE}/text/{backup[1]}").text


def test_merge_is_laid_over_what_runs(ann: Visitor) -> None:
    shown = bring(ann, POLICY, "merge")
    assert "laid over" in shown.text and "/Common/p" not in ann.listed("net ipsec ipsec-policy")
    done = bring(ann, POLICY, "merge", shown.value("confirmed"), hx_request="true")
    assert done.status == 200 and "merged into what runs" in ann.look(done.headers["HX-Redirect"]).said("done")[0]
    assert "/Common/p" in ann.listed("net ipsec ipsec-policy")
    assert "/Common/outside" in ann.listed("net self")


def test_keys_of_a_text_are_not_sent_back(ann: Visitor) -> None:
    for action in ("verify", "merge", "replace"):
        for headers in ({}, {"hx_request": "true"}):
            for text in (POLICY + SA, POLICY + SA.replace("spi 1001", "spi 12"), POLICY + SA.replace(KEY, "short")):
                page = bring(ann, text, action, **headers)
                assert KEY not in page.text and "sixteen letters" not in page.text and "short&#34;" not in page.text
    page = bring(ann, POLICY + SA, "replace")
    assert any("auth-key ********" in own for own in lines(page))


def test_a_part_is_asked_for_by_htmx_and_no_more(ann: Visitor) -> None:
    page = bring(ann, POLICY, "verify", hx_request="true")
    assert "<html" not in page.text and "Nothing is wrong" in page.said("done")[0]


# roles


@pytest.mark.parametrize("user", ["guy", "max", "sue"])
def test_who_may_not_load_does_not(ann: Visitor, user: str) -> None:
    ann.look(f"{HERE}/save", {})
    describe(ann, "newer")
    other = Visitor(ann.inside, user)
    assert other.look(f"{HERE}/rollback", {"generation": "1"}).status == 403
    assert ann.listed("net self")["/Common/inside"]["description"] == "newer"
    page = other.look(HERE)
    assert page.status == 200
    if user == "sue":
        assert "Roll back" not in page.text and "/configuration/save" not in page.text
    else:
        assert "may not ask for generations" in page.said("note")[0] and "/configuration/text" not in page.text
        assert ("/configuration/save" in page.text) is (user == "max")
    sign = bring(other, POLICY, "merge")
    assert "confirmed" not in sign.text or bring(other, POLICY, "merge", sign.value("confirmed")).status != 303
    assert "/Common/p" not in ann.listed("net ipsec ipsec-policy")


def test_nobody_elses_link_puts_words_there(ann: Visitor) -> None:
    own = ann.look(f"{HERE}/save", {}).headers["Location"]
    assert ann.look(own).said("done") == ["Saved, as generation 1."]
    for link in (own.replace("number=1", "number=7"), f"{HERE}?said=saved&number=1", f"{HERE}?advice=Call+me"):
        page = ann.look(link)
        assert not page.said("done") and "Call me" not in page.text


def test_a_form_of_another_session_changes_nothing(ann: Visitor) -> None:
    assert ann.look(f"{HERE}/save", {"csrf": "another"}).status == 403
    assert ann.inside.root("generations") == []


# differences


def test_objects_are_told_apart_by_their_first_line() -> None:
    before = "a 1 {\n    x 1\n    y {\n        z\n    }\n}\nb { }\nsame {\n    q\n}\n"
    after = "a 1 {\n    x 2\n    y {\n        z\n    }\n}\nc { }\nsame {\n    q\n}\n"
    found = difference(before, after)
    assert [(own.title, own.sort) for own in found.changes] == [("b", "removed"), ("a 1", "changed"), ("c", "added")]
    assert (found.count("added"), found.count("removed")) == (2, 2)
    assert difference(before, before).total == 0


def test_a_large_difference_is_cut_and_said_to_be() -> None:
    many = "".join(f"net route /Common/r{n} {{\n    network 10.0.0.0/8\n}}\n" for n in range(10_000))
    found = difference("", many)
    assert found.total == 10_000 and found.left > 9000
    assert found.changes[0].title == "net route /Common/r0"


def test_what_stands_twice_is_not_lost() -> None:
    found = difference("a {\n x\n}\n", "a {\n x\n}\na {\n y\n}\n")
    assert [(own.title, own.sort) for own in found.changes] == [("a (2)", "added")]
