"""One's own password, and where one is logged in."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from culvert.control.errors import Unauthorized
from tests.control.guarded import HOME, PASSWORD
from tests.web.visitor import Looked, Visitor, visiting

NEW = "a longer battery staple"
GOOD = {"do": "password", "old": PASSWORD, "new": NEW, "again": NEW}


@pytest.fixture
def ann(tmp_path: Path) -> Iterator[Visitor]:
    with visiting(tmp_path, guy="guest") as made:
        yield made


def move(visitor: Visitor, page: Looked) -> None:
    """Keep the cookie that came."""
    found = re.match(r"__Host-culvert=(\w*);", page.headers["Set-Cookie"])
    assert found is not None
    visitor.token = found[1]


def lives(visitor: Visitor) -> bool:
    try:
        return bool(visitor.session.call("describe"))
    except Unauthorized:
        return False


@pytest.mark.parametrize("user", ["ann", "guy"])
def test_a_new_password_ends_every_other_session(ann: Visitor, user: str) -> None:
    own, other = Visitor(ann.inside, user), Visitor(ann.inside, user)
    page = own.look("/account", GOOD)
    assert page.status == 303, page.said("error")
    assert not lives(other) and not lives(own), "the old password's sessions are over"
    move(own, page)
    assert "was changed" in own.look(page.headers["Location"]).said("done")[0]
    assert ann.inside.ask("login", username=user, password=NEW, address=HOME)
    assert NEW not in ann.inside.audit_text and PASSWORD not in ann.inside.audit_text
    own.inside.refused("login", username=user, password=PASSWORD, address=HOME)


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"old": ""}, "old", "missing"),
        ({"old": "wrong"}, "old", "not the old password"),
        ({"new": "", "again": ""}, "new", "missing"),
        ({"again": "another"}, "again", "not the same"),
        ({"new": "guy", "again": "guy"}, "new", ""),
    ],
)
def test_what_is_wrong_stands_at_its_field(ann: Visitor, changes: dict[str, str], field: str, words: str) -> None:
    guy = Visitor(ann.inside, "guy")
    page = guy.look("/account", GOOD | changes)
    assert page.status >= 400
    error = re.search(rf'id="f-{field}"[^>]*aria-invalid="true">\s*<p class="error" role="alert">([^<]*)<', page.text)
    assert error is not None and words in error[1]
    assert PASSWORD not in page.text and NEW not in page.text
    assert ann.inside.ask("login", username="guy", password=PASSWORD, address=HOME)


def test_sessions_one_by_one_and_all(ann: Visitor) -> None:
    first, second, third, stranger = (Visitor(ann.inside, user) for user in ("guy", "guy", "guy", "ann"))
    ann.inside.seconds += 5
    own = Visitor(ann.inside, "guy")
    page = own.look("/account")
    handles = re.findall(r'name="handle" value="(\w+)"', page.text)
    assert len(handles) == 4 and page.text.count("(this one)") == 1
    assert not any(each.token in page.text for each in (first, second, third, own))
    done = own.look("/account", {"do": "end", "handle": handles[-1]})
    assert own.look(done.headers["Location"]).said("done") == ["That session was ended."]
    assert [lives(each) for each in (first, second, third, own)].count(True) == 3
    gone = own.look("/account", {"do": "everywhere"})
    assert gone.headers["Location"] == "/login" and "Max-Age=0" in gone.headers["Set-Cookie"]
    assert not any(lives(each) for each in (first, second, third, own))
    assert lives(stranger) and lives(ann)
