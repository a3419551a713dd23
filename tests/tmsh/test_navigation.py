"""Folders, modules, help."""

from tests.control.live import Site
from tests.tmsh.typing import prompt_place


def test_a_module_is_entered_and_left(site: Site) -> None:
    answers = site.type(
        "net ipsec", "list ipsec-policy pol-out mode", "exit", "list net ipsec ipsec-policy pol-in mode"
    )
    assert answers[1] == "net ipsec ipsec-policy pol-out {\n    mode tunnel\n}"
    assert answers[3] == "net ipsec ipsec-policy pol-in {\n    mode tunnel\n}"


def test_a_component_is_entered_too(site: Site) -> None:
    answers = site.type(
        "/net ipsec ipsec-policy", "create p description x", "list p", "modify p mode interface", "delete p"
    )
    assert answers == ["", "", "net ipsec ipsec-policy p {\n    description x\n}", "", ""]


def test_paths_from_the_root_work_in_a_module(site: Site) -> None:
    first, second = site.type("net ipsec", "list /net self inside address", "list net self inside address")[1:]
    assert first == second == "net self inside {\n    address 10.1.0.1/24\n}"


def test_where_the_prompt_is(site: Site) -> None:
    assert prompt_place(site, "net ipsec") == "(tmos.net.ipsec)"
    assert prompt_place(site, "net", "ipsec", "exit") == "(tmos.net)"
    assert prompt_place(site, "net", "ipsec", "/") == "(tmos)"


def test_words_that_lead_nowhere(site: Site) -> None:
    for line in (
        "net nowhere",
        "nowhere",
        "list nonsense",
        "list net nonsense",
        "/nowhere",
        "exit now",
        "list /nowhere x",
    ):
        assert site.type(line)[0].startswith("Syntax Error: unexpected argument"), line


def test_folders(site: Site) -> None:
    answers = site.type(
        "pwd",
        "create auth partition S1",
        "cd /S1",
        "pwd",
        "create sys folder deep",
        "cd deep",
        "pwd",
        "cd ../..",
        "pwd",
        "cd /S1/nowhere",
        "cd S1",
        "pwd",
    )
    assert answers == [
        "/Common",
        "",
        "",
        "/S1",
        "",
        "",
        "/S1/deep",
        "",
        "/",
        "01020036:3: The requested folder (/S1/nowhere) was not found.",
        "",
        "/S1",
    ]


def test_names_shorten_against_the_folder(site: Site) -> None:
    site.type("create auth partition S1", "create net ipsec ipsec-policy /S1/p", "create net ipsec ipsec-policy q")
    in_common, in_s1, in_root = (
        site.type(f"cd {folder}", "list net ipsec ipsec-policy")[1] for folder in ("/Common", "/S1", "/")
    )
    assert "net ipsec ipsec-policy q { }" in in_common
    assert in_s1 == "net ipsec ipsec-policy p { }"
    assert in_root == ""
    everywhere = site.type("cd /", "list net ipsec ipsec-policy recursive one-line")[1].splitlines()
    assert "net ipsec ipsec-policy S1/p { partition S1 }" in everywhere
    assert "net ipsec ipsec-policy Common/q { }" in everywhere


def test_a_partition_goes_only_when_it_is_empty(site: Site) -> None:
    site.type("create auth partition S1", "create net ipsec ipsec-policy /S1/p")
    assert site.type("delete auth partition S1") == [
        "01070265:3: The partition (S1) cannot be deleted because it is in use by a IPsec policy (/S1/p)."
    ]
    assert site.type("delete net ipsec ipsec-policy /S1/p", "delete auth partition S1") == ["", ""]
    assert (
        site.type("create net ipsec ipsec-policy /S1/p")[0] == "01020036:3: The requested folder (/S1) was not found."
    )
    assert "can't be deleted" in site.type("delete auth partition Common")[0]


def test_help_names_every_property(site: Site) -> None:
    told = site.tmsh("help net ipsec manual-security-association")
    assert "  create net ipsec manual-security-association NAME { PROPERTY VALUE ... }" in told
    assert "spi" in told
    assert "a number from 256 to 4294967295" in told
    assert "ipsec-policy" in site.tmsh("help net ipsec")
