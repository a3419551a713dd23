"""Requests of a shape that no call takes: one sentence for each, and never an exception of Python."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sealing import SITE_A

from culvert.control.errors import ControlError, SyntaxProblem
from tests.control.live import Site

POLICY = "net ipsec ipsec-policy"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    made.call("load", text=SITE_A)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("call", "args", "told"),
    [
        ("transaction", {}, '"operations": a list of objects is expected'),
        ("transaction", {"operations": "x"}, '"operations": a list of objects is expected'),
        ("transaction", {"operations": ["x"]}, '"operations": a list of objects is expected'),
        ("transaction", {"operations": [{"verb": "delete", "kind": POLICY, "names": "pol-out"}]}, '"names": a list of'),
        ("delete", {"kind": POLICY, "names": "pol-out"}, '"names": a list of strings is expected'),
        ("delete", {"kind": POLICY, "names": [1]}, '"names": a list of strings is expected'),
        ("delete", {"kind": POLICY, "names": None}, '"names": a list of strings is expected'),
        ("create", {"kind": POLICY, "name": None}, '"name": a string is expected'),
        ("create", {"kind": POLICY, "name": "x", "properties": []}, '"properties": an object is expected'),
        ("create", {"kind": POLICY, "name": "x", "operations": []}, '"operations" is no argument of create'),
        ("list", {"kind": POLICY, "names": "pol-out"}, '"names": a list of strings is expected'),
        ("list", {"kind": POLICY, "page": 3}, '"page": an object with the numbers skip and top is expected'),
        ("list", {"kind": POLICY, "page": {"top": -1}}, '"page": an object with the numbers skip and top is expected'),
        ("transaction", {"operations": [], "listed": 1}, '"listed": an object is expected'),
        ("transaction", {"operations": [], "listed": {"names": 1}}, '"names": a list of strings is expected'),
        ("modify", {"kind": POLICY, "names": ["x"], "old_password": 1}, '"old_password": a string is expected'),
        ("list", {"kind": POLICY, "limit": "9"}, '"limit": a number is expected'),
        ("show", {"what": "net self", "filters": 7}, '"filters": an object is expected'),
        ("show", {"what": "net self", "filters": {"names": 7}}, '"names" of the filters: a list of strings'),
        ("text", {"generation": "x"}, '"generation": a number is expected'),
        ("load", {"text": 7}, '"text": a string is expected'),
        ("transaction", {"operations": [{"verb": "rename", "kind": POLICY, "names": []}]}, "rename takes one name"),
    ],
)
def test_a_misshapen_request_is_told_what_it_lacks(site: Site, call: str, args: dict[str, Any], told: str) -> None:
    problem = site.refused(call, **args)
    assert isinstance(problem, SyntaxProblem)
    assert problem.text.startswith(f"Syntax Error: {told}")


def test_a_misshapen_member_is_a_bad_value(site: Site) -> None:
    told = site.refused("modify", kind="net vlan", names=["internal"], properties={"interfaces": [7]})
    assert "a member is expected" in told.text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 300) | st.sampled_from(["", "internal", "net vlan", "modify", "all"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["mtu", "interfaces"]), inner),
    max_leaves=6,
)
WORDS = ("name", "names", "folder", "properties", "verb", "to", "what", "filters", "limit", "text")
ARGS = st.fixed_dictionaries({"kind": st.just("net vlan")}, optional=dict.fromkeys(WORDS, JSON))
CALLS = st.sampled_from(["create", "modify", "delete", "transaction", "list", "show", "text", "folder"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(call=CALLS, args=ARGS, operations=st.lists(ARGS, max_size=2))
def test_no_request_is_more_than_refused(
    site: Site, call: str, args: dict[str, Any], operations: list[dict[str, Any]]
) -> None:
    with contextlib.suppress(ControlError):
        site.call(call, **args | ({"operations": operations} if call == "transaction" else {}))
