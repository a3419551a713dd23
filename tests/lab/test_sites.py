"""The command lines of the two systems: they mirror each other, and what is shown has no key in it."""

import shlex

from culvert.lab import keys
from culvert.lab.sites import MASK, SITES, Line, lines


def typed(site: str, kind: str) -> list[str]:
    return [line.text for line in lines(SITES[site], KEYS) if line.text.startswith(f"create net ipsec {kind} ")]


def properties(text: str) -> dict[str, str]:
    """The properties of a `create net ipsec` line."""
    words = shlex.split(text)[5:]
    return dict(zip(words[::2], words[1::2], strict=True))


KEYS = keys.fresh()


def test_each_system_has_two_of_each_for_each_family() -> None:
    for site in SITES:
        for kind in ("ipsec-policy", "manual-security-association", "traffic-selector"):
            assert len(typed(site, kind)) == 4


def test_what_is_shown_has_no_key_in_it() -> None:
    for site in SITES.values():
        for line in lines(site, KEYS):
            for key in KEYS.values():
                for secret in (key.auth_key, key.encrypt_key):
                    assert secret not in line.shown
                    assert secret[2:] not in repr(line)
    masked = [line for line in lines(SITES["a"], KEYS) if MASK in line.shown]
    assert len(masked) == 4


def test_a_line_with_a_key_or_a_quote_goes_by_standard_input() -> None:
    assert Line("create x", ("secret",)).by_stdin
    assert Line('create x description "y"').by_stdin
    assert not Line("create net vlan external").by_stdin
    for line in lines(SITES["a"], KEYS):
        assert line.by_stdin == ('"' in line.text)


def test_outbound_of_one_system_is_inbound_of_the_other() -> None:
    names = ("spi", "source-address", "destination-address", "auth-key", "encrypt-key", "encrypt-algorithm")
    found = {}
    for site in SITES:
        for text in typed(site, "manual-security-association"):
            found[site, shlex.split(text)[4]] = tuple(properties(text)[name] for name in names)
    for suffix in ("", "-v6"):
        assert found["a", f"sa-out{suffix}"] == found["b", f"sa-in{suffix}"]
        assert found["b", f"sa-out{suffix}"] == found["a", f"sa-in{suffix}"]
    assert len(set(found.values())) == 4


def test_tunnel_addresses_swap_roles_for_the_inbound_policy() -> None:
    outbound, inbound = typed("a", "ipsec-policy")[:2]
    assert properties(outbound)["tunnel-local-address"] == "2.2.2.2"
    assert properties(outbound)["tunnel-remote-address"] == "3.3.3.3"
    assert properties(inbound)["tunnel-local-address"] == "3.3.3.3"
    assert properties(inbound)["tunnel-remote-address"] == "2.2.2.2"


def test_fresh_keys_are_fresh_and_each_its_own() -> None:
    first, second = keys.fresh(), keys.fresh()
    every = [key.auth_key for key in (*first.values(), *second.values())]
    assert len(set(every)) == len(every)
    assert all(len(key.auth_key) == 42 and len(key.encrypt_key) == 34 for key in first.values())
    assert "0x" not in repr(first)
