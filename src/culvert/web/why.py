"""Why a packet did not pass: a question in the address, so that it can be sent to a colleague, and its way drawn."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from culvert.control.errors import SyntaxProblem
from culvert.model.packet import BadPacket, PacketWords, built
from culvert.model.services import PROTOCOLS
from culvert.rest.exchange import Answer, not_allowed, not_found
from culvert.web import remedies
from culvert.web.remedies import Link
from culvert.web.rendering import framed
from culvert.web.visit import Visit, page

Json = Any
ADDRESS = "/why"
OUT, IN = "out", "in"
OUTWARDS = ("arrival", "virtual server", "traffic selector", "security association", "MTU", "route")
INWARDS = ("traffic selector", "security association", "protected packet", "virtual server", "route")
ENDING = ("destination", "protection")
"""Steps that stand in the place of others: behind them nothing is missing."""
SHOWN = {"tcp": "TCP", "udp": "UDP", "icmp": "ICMP"}
DEFAULTS = {
    **{"from": "", "to": "", "protocol": "tcp", "protocol.other": "", "from-port": "40000", "port": "0", "type": ""},
    **{"code": "0", "size": "100", "direction": OUT, "df": ""},
}
_LAST = re.compile(
    r"(?P<source>[0-9a-fA-F.:]+) -> (?P<to>[0-9a-fA-F.:]+) protocol (?P<protocol>\d+)"
    r"(?: port (?P<from_port>\d+) -> (?P<port>\d+)| type (?P<type>\d+) code (?P<code>\d+))?"
)


@dataclass(frozen=True, slots=True)
class Line:
    """What one step says, and the pages of the objects that it speaks of."""

    verdict: str
    sentence: str
    links: tuple[Link, ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """A station of the way. `verdict`: pass, stop, note, or "" for one that wasn't reached."""

    title: str
    verdict: str
    lines: tuple[Line, ...] = ()


class Why:
    """Answers under /why."""

    def answer(self, visit: Visit) -> Answer:
        """The form, and below it the answer when the address has a question. Raises ControlError, BadRequest."""
        if visit.rest:
            raise not_found(visit.request)
        if visit.posts:
            raise not_allowed(visit.request, "GET", "HEAD")
        asked = {word: visit.asked(word, default).strip()[:100] for word, default in DEFAULTS.items()}
        steps: Sequence[Mapping[str, Json]] = ()
        wrong: tuple[str, str] = ("", "")
        if "to" in visit.request.query:
            try:
                packet = built(_words(asked))
                steps = visit.session.call("explain", packet=packet.hex(), direction=asked["direction"])
            except BadPacket as error:
                wrong = (error.word or "to", str(error))
            except SyntaxProblem as error:
                wrong = ("to", error.message)
        text = framed(
            visit.session, "why.html", title="Why Did It Not Pass", here=ADDRESS, **_drawn(asked, steps, wrong)
        )
        return page(text, 400 if wrong[0] else 200)


def link(parameters: Mapping[str, str]) -> str:
    """The address of a question."""
    return f"{ADDRESS}?{urlencode(parameters)}"


def from_drop(last: str) -> str:
    """The question about the last packet that died for a reason, as `show net ipsec drops` describes it; "" for none.

    What came protected isn't asked: its end can't be told from a description.
    """
    found = _LAST.match(last)
    if found is None:
        return ""
    names = {str(number): name for name, number in PROTOCOLS.items()}
    protocol = found["protocol"]
    asked = {"from": found["source"], "to": found["to"], "protocol": names.get(protocol, protocol)}
    if asked["protocol"] == "ipv6-icmp":
        asked["protocol"] = "icmp"
    return link(asked | {word: found[group] for word, group in _GROUPS.items() if found[group] is not None})


_GROUPS = {"from-port": "from_port", "port": "port", "type": "type", "code": "code"}


def _words(asked: Mapping[str, str]) -> PacketWords:
    other = asked["protocol.other"] if asked["protocol"] == "other" else ""
    return PacketWords(
        source=asked["from"],
        destination=asked["to"],
        protocol=other or asked["protocol"],
        port=asked["port"] or DEFAULTS["port"],
        from_port=asked["from-port"] or DEFAULTS["from-port"],
        kind=asked["type"],
        code=asked["code"] or DEFAULTS["code"],
        size=asked["size"] or DEFAULTS["size"],
        df=bool(asked["df"]),
    )


def _drawn(asked: Mapping[str, str], steps: Sequence[Mapping[str, Json]], wrong: tuple[str, str]) -> dict[str, Json]:
    death = next((own for own in steps if own["verdict"] == "stop"), None)
    clear = any("IN CLEAR" in own["sentence"] for own in steps)
    return {
        "asked": asked,
        "protocols": SHOWN,
        "wrong": wrong,
        "stages": _stages(steps, INWARDS if asked["direction"] == IN else OUTWARDS),
        "death": death,
        "remedies": remedies.of(death["try"]) if death else (),
        "clear": clear and death is None,
        "packet": _told(asked),
        "back": link({**_turned(asked), "direction": OUT if asked["direction"] == IN else IN}),
    }


def _stages(steps: Sequence[Mapping[str, Json]], usual: Sequence[str]) -> list[Stage]:
    """The steps by station, in their order; behind a stop the stations that weren't reached."""
    made: list[Stage] = []
    for own in steps:
        links = [remedies.to_object(each["kind"], each["name"]) for each in own["objects"]]
        line = Line(own["verdict"], own["sentence"], tuple(each for each in links if each is not None))
        if made and made[-1].title == own["step"]:
            before = made.pop()
            made.append(Stage(own["step"], _worse(before.verdict, line.verdict), (*before.lines, line)))
        else:
            made.append(Stage(own["step"], line.verdict, (line,)))
    if made and made[-1].verdict == "stop" and not any(own.title in ENDING for own in made):
        passed = {own.title for own in made}
        at = max((usual.index(title) for title in passed if title in usual), default=-1)
        made += [Stage(title, "") for title in usual[at + 1 :] if title not in passed]
    return made


def _worse(one: str, other: str) -> str:
    return max(one, other, key=("note", "pass", "stop").index)


def _told(asked: Mapping[str, str]) -> str:
    """The packet in words."""
    protocol = asked["protocol.other"] if asked["protocol"] == "other" else asked["protocol"]
    shown = SHOWN.get(protocol, protocol)
    if protocol in ("tcp", "udp"):
        shown += f" port {asked['port']}"
    return f"{shown}, {asked['size']} octets" + (", may not be cut" if asked["df"] else "")


def _turned(asked: Mapping[str, str]) -> dict[str, str]:
    """The question about the answer to this packet."""
    turned = {**asked, "from": asked["to"], "to": asked["from"]}
    turned |= {"port": asked["from-port"], "from-port": asked["port"]}
    return {word: value for word, value in turned.items() if value}
