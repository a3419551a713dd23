"""Commands that change something, typed at a gateway on the plane in memory."""

import pytest

from tests.control.live import Site

POLICY = "create net ipsec ipsec-policy {} mode tunnel tunnel-local-address 1.1.1.1 tunnel-remote-address 1.1.1.2"


def test_a_transaction_is_carried_out_as_a_whole(site: Site) -> None:
    answers = site.type(
        "create cli transaction",
        POLICY.format("t1"),
        'create net ipsec manual-security-association m { spi 777 auth-key "12345678901234567890" '
        'encrypt-key "1234567890123456" source-address 1.1.1.1 destination-address 1.1.1.2 ipsec-policy t1 }',
        "list cli transaction",
        "list net ipsec ipsec-policy t1",
        "submit cli transaction",
        "list net ipsec ipsec-policy t1 mode",
        "list cli transaction",
    )
    assert answers[:3] == ["", "", ""]
    assert answers[3].splitlines()[0] == "1: " + POLICY.format("t1")
    assert "1234567890" not in answers[3]
    assert 'auth-key "..."' in answers[3]
    assert answers[4] == "01020036:3: The requested IPsec policy (/Common/t1) was not found."
    assert answers[5] == ""
    assert answers[6] == "net ipsec ipsec-policy t1 {\n    mode tunnel\n}"
    assert answers[7].startswith("Syntax Error: no transaction is open")


def test_a_transaction_with_one_mistake_changes_nothing_and_stays_open(site: Site) -> None:
    before = site.call("text")
    answers = site.type(
        "create cli transaction",
        POLICY.format("good"),
        "modify net ipsec ipsec-policy absent mode transport",
        "submit cli transaction",
        "modify cli transaction delete 2",
        "submit cli transaction validate-only",
        "list cli transaction",
    )
    assert answers[3] == "01020036:3: The requested IPsec policy (/Common/absent) was not found."
    assert answers[4:6] == ["", ""]
    assert answers[6] == "1: " + POLICY.format("good")
    assert site.call("text") == before
    assert site.type("create cli transaction", "create cli transaction")[1].startswith("Syntax Error: a transaction is")
    assert site.type("create cli transaction", "delete cli transaction", "submit cli transaction")[2].startswith("Synt")


@pytest.mark.parametrize(
    "line",
    [f"modify cli transaction delete {number}" for number in ("9", "x", "9" * 5000)],
    ids=["9", "x", "long"],
)
def test_a_transaction_has_the_commands_that_it_has(site: Site, line: str) -> None:
    assert site.type("create cli transaction", line)[1].endswith("is not the number of a command; there are 0")


def test_folders_inside_a_transaction(site: Site) -> None:
    answers = site.type(
        "create auth partition S1",
        "create cli transaction",
        "cd /S1",
        "create net ipsec ipsec-policy p",
        "cd /Common",
        "create net ipsec ipsec-policy p",
        "submit cli transaction",
    )
    assert answers == [""] * 7
    names = {own["name"] for own in site.call("list", kind="net ipsec ipsec-policy")}
    assert {"/S1/p", "/Common/p"} <= names


def test_a_transaction_may_work_in_a_folder_that_it_makes(site: Site) -> None:
    answers = site.type(
        "create cli transaction",
        "create auth partition T",
        "cd /T",
        "create net ipsec ipsec-policy p",
        "create sys folder deep",
        "cd deep",
        "create net ipsec ipsec-policy q",
        "submit cli transaction",
        "pwd",
    )
    assert answers == [""] * 8 + ["/T/deep"]
    names = {own["name"] for own in site.call("list", kind="net ipsec ipsec-policy")}
    assert {"/T/p", "/T/deep/q"} <= names


def test_nothing_lands_where_it_was_not_meant_to(site: Site) -> None:
    answers = site.type(
        "create cli transaction",
        "cd /absent",
        "create net ipsec ipsec-policy p",
        "cd /Common",
        "create net ipsec ipsec-policy q",
        "submit cli transaction",
    )
    assert answers[1] == "01020036:3: The requested folder (/absent) was not found."
    assert answers[2].startswith("Syntax Error: cd /absent failed")
    assert answers[3:] == ["", "", ""]
    names = {own["name"] for own in site.call("list", kind="net ipsec ipsec-policy")}
    assert "/Common/q" in names
    assert "/Common/p" not in names


def test_a_transaction_that_is_given_up_takes_its_folders_along(site: Site) -> None:
    assert (
        site.type("create cli transaction", "create auth partition T", "cd /T", "delete cli transaction", "pwd")[4]
        == "/Common"
    )


def test_a_renamed_object_keeps_its_users(site: Site) -> None:
    assert site.tmsh("mv net ipsec ipsec-policy pol-out away") == ""
    assert site.tmsh("list net ipsec traffic-selector ts-out ipsec-policy").splitlines()[1] == "    ipsec-policy away"
    assert site.tmsh("list net ipsec manual-security-association sa-out ipsec-policy").splitlines()[1].endswith("away")
    assert len(site.call("show", what="net ipsec ipsec-sa")) == 2
    assert site.type("mv net ipsec ipsec-policy away pol-in")[0].startswith("01020066:3: ")
    assert site.type("mv net ipsec ipsec-policy absent x")[0].startswith("01020036:3: ")
    assert "keeps its name" in site.type("mv net ipsec ipsec-policy default-ipsec-policy x")[0]


def test_moving_into_a_folder(site: Site) -> None:
    assert site.type("create sys folder deep", "mv net vlan internal to-folder /Common/deep") == ["", ""]
    assert site.tmsh("list net self inside vlan").splitlines()[1] == "    vlan deep/internal"
    assert site.type("mv net vlan /Common/deep/internal to-folder /nowhere")[0].startswith(
        "01020036:3: The requested fol"
    )


def test_copying(site: Site) -> None:
    assert site.tmsh("cp net ipsec traffic-selector ts-out ts-two") == ""
    first, second = (site.tmsh(f"list net ipsec traffic-selector {name}") for name in ("ts-out", "ts-two"))
    assert second == first.replace("ts-out", "ts-two")
    assert site.type("modify ltm virtual forward disabled", "cp ltm virtual forward same") == ["", ""]
    assert "    disabled" in site.tmsh("list ltm virtual same").splitlines()
    # A copied SA would have the SPI of the first.
    assert "spi" in site.type("cp net ipsec manual-security-association sa-out sa-two")[0]


@pytest.mark.parametrize(("source", "count"), [("nothing*", 0), ("ts-*", 2)])
def test_only_one_object_is_copied(site: Site, source: str, count: int) -> None:
    """A glob that nothing fits came to an IndexError, and of several the first was copied."""
    before = site.call("text")
    assert site.type(f"cp net ipsec traffic-selector {source} x")[0].endswith(f"; {count} are called {source}")
    assert site.call("text") == before


@pytest.mark.parametrize("expression", ["@a{99999999999}", f"@{'(' * 2000}"])
def test_an_expression_that_is_too_much_is_told(site: Site, expression: str) -> None:
    """They came to an OverflowError and a RecursionError."""
    assert "is no regular expression" in site.type(f'list net self "{expression}"')[0]


def test_globs_expressions_and_all(site: Site) -> None:
    site.type(*(POLICY.format(name) for name in ("red-1", "red-2", "blue-1")))
    assert site.tmsh("modify net ipsec ipsec-policy red-* description warm") == ""
    assert site.tmsh("list net ipsec ipsec-policy @^red.*2$ description") == (
        "net ipsec ipsec-policy red-2 {\n    description warm\n}"
    )
    assert site.type("delete net ipsec ipsec-policy @(") == [
        'Syntax Error: "(" is no regular expression: missing ), unterminated subpattern at position 0'
    ]
    assert site.type("delete net ipsec ipsec-policy nothing*")[0].startswith(
        "Syntax Error: no net ipsec ipsec-policy is"
    )
    assert site.tmsh("delete net ipsec ipsec-policy red-* blue-1") == ""
    assert "red" not in site.tmsh("list net ipsec ipsec-policy")
    assert site.tmsh("delete net ipsec traffic-selector all") == ""
    assert "ts-" not in site.tmsh("list net ipsec traffic-selector")


def test_a_glob_may_speak_of_another_folder(site: Site) -> None:
    site.type("create auth partition P1", "create sys folder /P1/deep")
    site.type(*(POLICY.format(name) for name in ("/P1/a", "/P1/b", "/P1/deep/c", "d")))
    listed = site.tmsh("list net ipsec ipsec-policy /P1/* description")
    assert [line.split()[3] for line in listed.splitlines() if line.startswith("net")] == ["/P1/a", "/P1/b"]
    assert site.tmsh("modify net ipsec ipsec-policy /P1/* d description seen") == ""
    assert site.tmsh("delete net ipsec ipsec-policy /P1/*") == ""
    names = {own["name"] for own in site.call("list", kind="net ipsec ipsec-policy")}
    assert {"/P1/deep/c", "/Common/d"} <= names
    assert not names & {"/P1/a", "/P1/b"}
    assert "description seen" in site.tmsh("list net ipsec ipsec-policy d")
    answers = site.type("cd /", "list net ipsec ipsec-policy c recursive", "delete net ipsec ipsec-policy c* recursive")
    assert answers[2] == ""
    assert "/P1/deep/c" not in {own["name"] for own in site.call("list", kind="net ipsec ipsec-policy")}


def test_several_names_may_be_modified(site: Site) -> None:
    kind = "net ipsec ipsec-policy"
    site.type(POLICY.format("a"), POLICY.format("b"))
    # b is the name of a policy, though bundle-ah begins so too; des is none.
    assert site.tmsh(f'modify {kind} a b pol-out des "by three"') == ""
    for name in ("a", "b", "pol-out"):
        assert site.tmsh(f"list {kind} {name} description").splitlines()[1] == '    description "by three"'
    assert site.type(f"modify {kind} a nobody description x") == [
        'Syntax Error: "nobody" unknown property'
    ]
    assert (
        site.type(
            "create cli transaction",
            POLICY.format("e"),
            POLICY.format("f"),
            f"modify {kind} e f {{ description x }}",
            "submit cli transaction",
        )
        == [""] * 5
    )


def test_deleting_all_stays_in_the_folder_unless_recursive(site: Site) -> None:
    site.type("create auth partition S1", "create net ipsec ipsec-policy /S1/p", "create net ipsec ipsec-policy q")
    assert "in use" in site.type("delete net ipsec ipsec-policy all")[0]
    site.type("cd /S1", "delete net ipsec ipsec-policy all")
    names = {own["name"] for own in site.call("list", kind="net ipsec ipsec-policy")}
    assert "/S1/p" not in names
    assert "/Common/q" in names


def test_nothing_to_change_is_told(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.tmsh("create auth partition S1")
    for verb, line in (("delete", "delete net vlan all"), ("modify", "modify net vlan all mtu 1400")):
        assert site.type("cd /S1", line) == ["", ""]
        assert capsys.readouterr().err == f"Warning: there is no net vlan to {verb}\n"
    site.type("delete net tunnels tunnel all")
    assert capsys.readouterr().err == "Warning: there is no net tunnels tunnel to delete\n"


def test_a_vlan_that_is_missing_is_no_tunnel(site: Site) -> None:
    line = "create net self x address 10.3.0.1/24 vlan {}"
    missing, tunnel = site.type(line.format("nosuch"), line.format("http-tunnel"))
    assert missing == "01020036:3: The requested VLAN (/Common/nosuch) was not found."
    assert tunnel.endswith("/Common/http-tunnel is a tunnel; a self IP stands on a VLAN here")


def test_properties_and_verbs_may_be_abbreviated(site: Site) -> None:
    assert site.type("mod net ipsec ipsec-policy pol-out desc abroad") == [""]
    assert "description abroad" in site.tmsh("list net ipsec ipsec-policy pol-out")
    assert site.type("mod net ipsec ipsec-policy pol-out ike-phase2-lifetime-k 7 ike-phase2-lifetime 9") == [""]
    assert site.type("mod net ipsec ipsec-policy pol-out tunnel 1.1.1.1") == [
        'Syntax Error: "tunnel" may be tunnel-local-address, tunnel-remote-address'
    ]
    assert site.type("re net") == ['Syntax Error: "re" may be reset-stats, restart']
