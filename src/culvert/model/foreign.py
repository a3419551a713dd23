"""What a vendor's file has and Culvert does not: whole stanzas, kept as they were written and written back.

Nothing of IPsec is kept that way: what can't be honoured there is an error. Such a stanza begins in the first column,
as every stanza of a saved file does; it ends where its braces do.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from culvert.model import clear_keys, tokens
from culvert.model.fields import Field, Raw, Reader, Shape
from culvert.model.kind import Kind, Naming, Object, World
from culvert.model.problems import BadSyntax, BadValue, Problem
from culvert.model.tokens import Block, Token, Word, quote

FOREIGN = ("foreign",)
IPSEC = ("net", "ipsec")
IKE_PEER = ("net", "ipsec", "ike-peer")
VIRTUAL = ("ltm", "virtual")
TUNNEL = ("net", "tunnels", "tunnel")
OWN_TUNNELS = ("/Common/http-tunnel", "/Common/socks-tunnel")
KEPT = "is kept as it was loaded, without effect: it can only be listed, deleted or loaded again"
TEXT_MAX = 4 * 1024 * 1024
_WORDS = "analytics api-protection apm asm auth cli cm gtm ilx ltm net pem saas security sys util vcmp wam wom"
MODULES = frozenset(_WORDS.split())
"""The first words that stanzas of the vendor have; anything else is a slip."""
_NET = (
    "address-list arp bwc cmetrics cos dag-globals dns-resolver fdb interface-cos ipv6-subscriber-prefix-length "
    "lacp-globals lldp-globals mroute multicast-globals ndp packet-filter packet-filter-trusted packet-tester "
    "port-list port-mirror rate-shaping router-advertisement routing rst-cause service-policy sfc stp "
    "stp-globals timer-policy trunk vlan-allowed vlan-group wccp"
)
_TUNNELS = "endpoint etherip fec geneve gre ipip lw4o6 map ppp tcp-forward v6rd vxlan wccp"
COMPONENTS = {("net",): frozenset(_NET.split()), ("net", "tunnels"): frozenset(_TUNNELS.split())}
"""What the vendor has beside what Culvert has, where a slip would take a tunnel away: nothing else is kept there."""
PROGRAMS = (("ltm", "rule"), ("cli", "script"), ("sys", "icall", "script"), ("sys", "application", "template"))
"""Stanzas whose body is Tcl, where a double quote may stand alone but braces are always in pairs."""

_HEADER = re.compile(r"^(?P<words>[a-z][a-z0-9-]*(?:[^\S\n]+[^\s{}\"]+)*)\s*\{", re.MULTILINE)
_TOKEN = re.compile(r'\\.|[{}]|"(?:[^"\\]|\\.)*"', re.DOTALL)
_TCL = re.compile(r"\\.|[{}]", re.DOTALL)
_FORWARDS = re.compile(r"^\s*ip-forward\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Stanza:
    """`header` is its words, `text` all of it, `line` where it begins, `swallows` where another begins in it (or 0)."""

    header: str
    text: str
    line: int
    swallows: int = 0


def cut(text: str, kinds: Mapping[tuple[str, ...], Kind]) -> tuple[str, list[Stanza]]:
    """`text` with the foreign stanzas blanked out (its lines stay where they are), and those stanzas."""
    found: list[Stanza] = []
    pieces: list[str] = []
    end = line = 0
    for match in _HEADER.finditer(text):
        if match.start() < end:
            continue
        words = match["words"].split()
        if len(words) < 2 or words[0] not in MODULES or not _may_be_foreign(words, kinds):
            continue
        stop = _end(text, match.end(), _TCL if is_program(words) else _TOKEN)
        if not stop:
            # The reader will say so; whatever stands behind may be inside.
            return "".join([*pieces, text[end : match.end()]]), found
        body = text[match.start() : stop]
        if not _is_foreign(words, body, kinds):
            continue
        line += text.count("\n", end, match.start())
        inner = _swallowed(words, body)
        found.append(Stanza(" ".join(words), body, line + 1, line + 1 + body.count("\n", 0, inner) if inner else 0))
        pieces += [text[end : match.start()], "\n" * body.count("\n")]
        line, end = line + body.count("\n"), stop
    return "".join([*pieces, text[end:]]), found


def _swallowed(words: list[str], body: str) -> int:
    """Where in a stanza another begins, for want of a brace before it. In a program, only a stanza of IPsec is one."""
    for match in _HEADER.finditer(body, 1):
        inner = match["words"].split()
        if tuple(inner[:2]) == IPSEC or (len(inner) > 1 and inner[0] in MODULES and not is_program(words)):
            return match.start()
    return 0


def is_program(words: list[str]) -> bool:
    """Whether the body of a stanza of this header is Tcl."""
    return any(tuple(words[: len(path)]) == path for path in PROGRAMS)


def _may_be_foreign(words: list[str], kinds: Mapping[tuple[str, ...], Kind]) -> bool:
    if tuple(words[:2]) == IPSEC:
        return tuple(words[:3]) == IKE_PEER
    if tuple(words[:2]) == VIRTUAL or tuple(words[:3]) == TUNNEL:
        return True
    return _is_component(words) and not _known(words, kinds)


def _is_component(words: list[str]) -> bool:
    """Whether the vendor has such a component, as far as its components are listed here."""
    path = tuple(words[:2]) if tuple(words[:2]) in COMPONENTS else tuple(words[:1])
    return path not in COMPONENTS or not COMPONENTS[path].isdisjoint(words[len(path) : len(path) + 1])


def _known(words: list[str], kinds: Mapping[tuple[str, ...], Kind]) -> bool:
    longest = max(map(len, kinds), default=0)
    found = (kinds.get(tuple(words[:count])) for count in range(1, min(len(words), longest) + 1))
    return any(kind is not None and kind.in_files for kind in found)


def _is_foreign(words: list[str], body: str, kinds: Mapping[tuple[str, ...], Kind]) -> bool:
    """An IKE peer that is switched off changes nothing; every other unknown word of IPsec is the reader's to refuse."""
    if tuple(words[:3]) == IKE_PEER:
        return re.search(r"^\s*state disabled\s*$", body, re.MULTILINE) is not None
    if tuple(words[:3]) == TUNNEL:
        return words[-1] not in OWN_TUNNELS and re.search(r"^\s*profile \S*ipsec", body, re.MULTILINE) is None
    if tuple(words[:2]) == VIRTUAL:
        return not _FORWARDS.search(body) and _is_another_type(body)
    return not _known(words, kinds)


def is_known_component(words: list[str]) -> bool:
    """Whether the vendor has such a component for certain, though no stanza of it may be kept here."""
    return tuple(words) == IKE_PEER or (words[:1] == ["net"] and _is_component(words))


def _is_another_type(body: str) -> bool:
    """A virtual server that balances, rejects or holds: it has what a forwarding one never has."""
    try:
        (*_, block) = tokens.parse(body)
    except BadSyntax:
        return False
    heads = {item.text for item in block.items if isinstance(item, Word)} if isinstance(block, Block) else set()
    strange = {"pool", "rules", "persist", "policies", "source-address-translation", "reject", "l2-forward", "internal"}
    profiles = re.search(r"profiles\s*\{([^}]*)", body)
    return bool(heads & strange) or bool(profiles and "fastL4" not in profiles[1])


def _end(text: str, start: int, pattern: re.Pattern[str]) -> int:
    """Behind the brace that closes the one in front of `start`; 0 when there is none."""
    depth = 1
    for match in pattern.finditer(text, start):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if not depth:
            return match.end()
    return 0


def kept(head: Word, rest: "list[Token]") -> list[str]:
    """A property that a kind doesn't know, as lines: its word, and what stands on its line."""
    return list(_lines([head, *rest], ""))


def _lines(items: "list[Token]", indent: str) -> Iterator[str]:
    line = indent + " ".join(quote(item.text) for item in items if isinstance(item, Word))
    block = next((item for item in items if isinstance(item, Block)), None)
    if block is None:
        yield line
    elif not block.items:
        yield f"{line} {{ }}"
    else:
        yield f"{line} {{"
        for row in _rows(block):
            yield from _lines(row, indent + "    ")
        yield indent + "}"


def _rows(block: Block) -> "Iterator[list[Token]]":
    """The items of a block, those of one line together; a nested block ends its row."""
    row: list[Token] = []
    for item in block.items:
        if row and (item.line != row[0].line or isinstance(row[-1], Block)):
            yield row
            row = []
        row.append(item)
    if row:
        yield row


@dataclass(frozen=True, slots=True)
class Verbatim:
    """Text that is kept as it is."""

    shape = Shape.WORD
    expects: str = "a stanza as the vendor writes it"

    def parse(self, raw: Raw, reader: Reader) -> str:
        if not isinstance(raw, str) or len(raw) > TEXT_MAX:
            raise BadValue(f"{self.expects} is expected, of at most {TEXT_MAX} characters")
        return raw

    def raw(self, value: str) -> Raw:
        return value


def is_one_stanza(own: Object, world: World) -> Iterator[Problem]:
    """The text is the stanza that the name says, and nothing beside it."""
    rest, found = cut(own["text"] or "", {})
    if rest.strip() or [stanza.header for stanza in found] != [own.name]:
        yield own.problem("the text has to be this one stanza", "text")


def holds_no_clear_key(own: Object, world: World) -> Iterator[Problem]:
    """As for a stanza of a file: no key of IPsec in clear, and no stars in place of a value."""
    words = own.name.split()
    if not is_program(words):
        for found in clear_keys.problems(own["text"] or "", 1, of_ipsec=tuple(words[:2]) == IPSEC):
            yield own.problem(f"{found.word}: {found.sentence}", "text")


FOREIGN_KIND = Kind(
    path=FOREIGN,
    title="foreign stanza",
    help="What a loaded file had and Culvert has no use for: kept and written back as it was",
    naming=Naming.HEADER,
    implicit=True,
    rules=(is_one_stanza, holds_no_clear_key),
    fields=(Field("text", Verbatim(), "The stanza", ""),),
)

KINDS = (FOREIGN_KIND,)
