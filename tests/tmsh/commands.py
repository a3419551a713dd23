"""Commands made from the model: every kind and every property of it, with values that fit and some that don't.

Names and addresses are few, so that what one command makes is what the next one names.
"""

from collections.abc import Sequence
from random import Random

from culvert.model.fields import (
    Choice,
    Field,
    Integer,
    Key,
    Members,
    OneAddress,
    Prefix,
    Reference,
    Span,
    Text,
    Toggle,
    Words,
)
from culvert.model.foreign import FOREIGN
from culvert.model.kind import Kind, Naming, Path
from culvert.model.registry import KINDS
from culvert.model.tokens import quote
from tests.sealing import SITE_A, configured

START = configured(SITE_A)
FOLDERS = ("/Common", "/", "/q", "/Common/f", "/q/f", "..", "f")
NEW = ("a", "b", "/q/a", "f/a", "/q/f/a", "/Common/b")
ODD_NAMES = ("none", "all", "10.1.0.0/24", '"a b"', "/nowhere/x", "-", "*", "/Common")
PLAIN_NAMES = ("q", "a", "wan0", "lan0", "root", "config.allow.rfc3927", "Common")
MEMBERS = ("wan0", "lan0", "e0", "q", "a", "Common", "all-partitions")
TEXTS = ("none", "x", '"two words"', '"a \\"b\\" {c}; #"', '"#"', '""', "sha1", '"enabled"', "é")
ODD_TEXTS = ("{", '"\x07"', '"')
HOSTS = ("2.2.2.2", "3.3.3.3", "10.1.0.1", "fd00::1", "fd00::2")
ODD_HOSTS = ("any", "any6", "none", "224.0.0.1", "1.1.1.1%7", "nonsense")
NETWORKS = ("10.1.0.0/24", "10.2.0.0/24", "2.2.2.2/24", "3.3.3.3", "10.1.0.1/24", "fd00:1::/64", "fd00:2::7/64")
ODD_NETWORKS = ("::/0", "0.0.0.0/0", "default", "10.1.0.0%7/24", "10.1.0.0/33")
LISTED = ("tcp:80", "udp:domain", "default", "all", "host", "user", "status", "none", "/Common", '"x y"', "#")
KEYS = ('"aaaaaaaaaaaaaaaaaaaa"', '"bbbbbbbbbbbbbbbb"', f"0x{'5a' * 16}", f"0x{'3c' * 20}", '"' + "c" * 24 + '"')
ODD_KEYS = ("none", "short", "0xzz", "$M$aa$x")
LISTENING = ("0.0.0.0:any", "10.2.0.0:80", "::.any", "10.2.0.0/24:any", "any", "/q/10.2.0.1:http", "x")
MASKS = ("any", "any6", "255.255.255.0", "ffff::", "255.0.255.0")
SPANS = ("any", "0", "1", "80", "10-19", "19-10", "http", "65535", "65536")
SPECIAL = {"ListenAddress": LISTENING, "Mask": MASKS, "TrafficGroup": ("traffic-group-local-only", "x")}
STRANGERS = (
    "ltm pool /Common/web { members { a } }",
    "ltm virtual /Common/other { destination 10.0.0.1:80 pool web }",
    "cli script x { proc a {} { } }",
)
KNOWN = [kind for kind in KINDS.values() if kind.path != FOREIGN]
OFTEN = [kind for kind in KNOWN if kind.path[:2] == ("net", "ipsec") or kind.path[0] in ("net", "auth")]


USUAL: dict[str, dict[str, tuple[str, ...]]] = {
    "net ipsec ipsec-policy": {
        "mode": ("tunnel", "transport"),
        "tunnel-local-address": ("2.2.2.2", "3.3.3.3"),
        "tunnel-remote-address": ("3.3.3.3", "2.2.2.2"),
    },
    "net ipsec manual-security-association": {
        "spi": ("1001", "1002", "1003", "1004"),
        "source-address": ("2.2.2.2", "2.2.2.2", "3.3.3.3"),
        "destination-address": ("3.3.3.3", "3.3.3.3", "2.2.2.2"),
        "auth-key": ('"aaaaaaaaaaaaaaaaaaaa"', f"0x{'3c' * 20}"),
        "encrypt-key": ('"bbbbbbbbbbbbbbbb"', f"0x{'5a' * 16}"),
        "ipsec-policy": ("/Common/pol-out", "/Common/pol-out", "/Common/pol-in", "a", "/q/a"),
    },
    "net ipsec traffic-selector": {
        "source-address": ("10.1.0.0/24", "10.2.0.0/24", "10.1.0.0/16"),
        "destination-address": ("10.2.0.0/24", "10.1.0.0/24", "10.2.0.0/16"),
        "direction": ("out", "out", "in"),
        "ipsec-policy": ("/Common/pol-out", "/Common/pol-out", "/Common/pol-in", "a", "/q/a"),
    },
    "net self": {"address": ("10.1.0.7/24", "2.2.2.7/24", "3.3.3.3/24", "2.2.2.2/24", "fd00::1/64")},
    "net route": {"network": ("10.9.0.0/16", "10.2.0.0/24", "default"), "gw": ("2.2.2.1", "10.1.0.9", "3.3.3.1")},
    "net route-domain": {"id": ("1", "2")},
    "net vlan": {"interfaces": ("add { e0 }", "add { e1 { tagged } }", "{ wan0 { tagged } }"), "tag": ("7", "8")},
    "auth partition": {"default-route-domain": ("0", "1", "2")},
    "ltm virtual": {"destination": ("0.0.0.0:any", "10.2.0.0/24:any"), "ip-forward": (), "mask": ("any",)},
    "net ipsec ike-daemon": {"isakmp-port": ("500",)},
}
"""Values that make whole objects together, of properties that seldom would by chance."""
VERBS = ("create",) * 4 + ("modify",) * 3 + ("delete",) * 2 + ("cp", "mv")
TRANSACTION = (
    *("create cli transaction", "submit cli transaction") * 3,
    *("submit cli transaction validate-only", "delete cli transaction", "modify cli transaction delete 1"),
)
SETTING = (
    *("create auth partition q", "create sys folder /Common/f", "create sys folder /q/f") * 2,
    *("save sys config", "load sys config", "delete net ipsec ipsec-sa", "reset-stats", "load sys config default"),
)

ODD_SHARE = 0.05


class Typist:
    """Types by chance."""

    def __init__(self, chance: Random) -> None:
        self._chance = chance

    def command(self) -> str:
        """One command; what it reads from the terminal stands below its first line."""
        pick = self._chance.random()
        if pick < 0.7:
            return self._object(self._one(VERBS))
        if pick < 0.8:
            return self._one(TRANSACTION)
        if pick < 0.88:
            return self._one(SETTING)
        if pick < 0.95:
            text = SITE_A if self._chance.random() < 0.2 else self._file()
            option = self._one(("merge", "merge", "merge verify", "verify", ""))
            return f"load sys config from-terminal {option}\n{text}"
        return f"cd {self._one(FOLDERS)}"

    def _one(self, words: Sequence[str]) -> str:
        return self._chance.choice(words)

    def _mostly(self, usual: Sequence[str], odd: Sequence[str]) -> str:
        return self._one(odd if self._chance.random() < ODD_SHARE else usual)

    def _kind(self) -> Kind:
        return self._chance.choice(OFTEN if self._chance.random() < 0.8 else KNOWN)

    def _name(self, path: Path, *, there: float) -> str:
        """Of an object of a kind: one that is there in the beginning, in that share of cases, or one to be made."""
        known = [quote(own.name) for own in START.all(path)]
        new = PLAIN_NAMES if KINDS[path].naming is Naming.PLAIN else NEW
        return self._mostly(known if known and self._chance.random() < there else new, ODD_NAMES)

    def _object(self, verb: str) -> str:
        """`create`, `modify`, `delete`, `cp` or `mv`, of any kind."""
        kind = self._kind()
        name = "" if kind.naming is Naming.SINGLE else self._name(kind.path, there=0.05 if verb == "create" else 0.6)
        head = f"{verb} {kind.word} {name}"
        if verb in ("create", "modify"):
            return f"{head} {self._body(kind, whole=verb == 'create')}"
        if verb == "delete":
            return head + self._one(("", "", " recursive"))
        if verb == "mv" and self._chance.random() < 0.3:
            return f"{head} to-folder {self._one(FOLDERS)}"
        return f"{head} {self._name(kind.path, there=0.05)}"

    def _file(self) -> str:
        """A few stanzas."""
        found = []
        for _ in range(self._chance.randint(1, 3)):
            kind = self._kind()
            name = "" if kind.naming is Naming.SINGLE else self._name(kind.path, there=0.5)
            found.append(f"{kind.word} {name} {{ {self._body(kind, whole=True)} }}")
        return "\n".join([*found, *([self._one(STRANGERS)] if self._chance.random() < 0.3 else [])])

    def _body(self, kind: Kind, *, whole: bool) -> str:
        """Some properties, each once; with `whole` all that a new object needs."""
        chosen = self._chance.sample(kind.fields, min(len(kind.fields), self._chance.randint(int(not whole), 3)))
        needed = [own for own in kind.fields if own.required or own.word in USUAL.get(kind.word, ())] if whole else []
        every = [*needed, *(own for own in chosen if own not in needed)]
        return " ".join(self._property(own, kind) for own in every)

    def _property(self, own: Field, kind: Kind | None = None) -> str:
        if isinstance(own.type, Toggle):
            return self._one(own.input_words)
        usual = USUAL.get(kind.word, {}).get(own.word) if kind else None
        value = self._one(usual) if usual and self._chance.random() < 0.85 else self._value(own)
        return f"{own.word} {value}".strip()

    def _value(self, own: Field) -> str:
        match own.type:
            case Text():
                return self._mostly(TEXTS, ODD_TEXTS)
            case Choice(words=words):
                return self._mostly(words, ("nonsense",))
            case Integer():
                return self._mostly(_numbers(own.type), (str(own.type.most + 1), "-1", "many"))
            case Span():
                return self._one(SPANS)
            case OneAddress():
                return self._mostly(HOSTS, ODD_HOSTS)
            case Prefix():
                return self._mostly(NETWORKS, ODD_NETWORKS)
            case Reference(target=target):
                return self._name(target, there=0.6)
            case Key():
                return self._mostly(KEYS, ODD_KEYS)
            case Words() | Members():
                return self._list(own.type)
        return self._one(SPECIAL.get(type(own.type).__name__, ("x",)))

    def _list(self, own: Words | Members) -> str:
        """A list as it is written, or a change of one."""
        if self._chance.random() < 0.15:
            return self._one(("none", "all"))
        verb = self._one(("", "", "add ", "delete ", "modify ", "replace-all-with "))
        return f"{verb}{{ {' '.join(self._item(own) for _ in range(self._chance.randint(0, 2)))} }}"

    def _item(self, own: Words | Members) -> str:
        if isinstance(own, Words):
            return self._name(own.target, there=0.6) if own.target else self._one(LISTED)
        name = self._name(own.target, there=0.6) if own.target else self._one(MEMBERS)
        return f"{name} {{ {' '.join(map(self._property, own.fields))} }}" if own.fields else name


def _numbers(own: Integer) -> list[str]:
    numbers = {own.least, own.least + 1, own.most, min(own.most, 1001), min(own.most, 7)}
    return [*map(str, sorted(number for number in numbers if number >= 0)), *own.words]


def command(number: int) -> str:
    """The command that `number` stands for."""
    return Typist(Random(number)).command()
