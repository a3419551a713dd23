"""Packet capture: start one, watch it, look at its first packets, take it away as a pcap file."""

import base64
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from culvert.control.errors import ControlError, NotFound, Refused, SyntaxProblem, Unavailable
from culvert.rest.exchange import Answer, BadRequest, not_allowed, not_found
from culvert.web.rendering import framed, render
from culvert.web.visit import Visit, download, elsewhere, page

Json = Any
ADDRESS = "/capture"
DOWNLOAD = "download"
PCAP = "application/vnd.tcpdump.pcap"
DECRYPTED = "decrypted"
KINDS = {
    "any": "Everything",
    "esp": "ESP, also in UDP 4500",
    "ah": "AH",
    "ike": "IKE: UDP 500 and 4500",
    "icmp": "ICMP and ICMPv6",
    "tcp": "TCP",
    "udp": "UDP",
}
DEFAULTS = {"where": "", "kind": "any", "host": "", "port": "", "seconds": "10", "packets": "1000", "snap": "65535"}
NUMBERS = ("port", "seconds", "packets", "snap")
FIELDS = {"vlan": "where"}
"""Where the form has another word than the call."""


class Capture:
    """Answers under /capture."""

    def answer(self, visit: Visit) -> Answer:
        """The page, the part of it that renews itself, the file, or what a button asks for. Raises ControlError."""
        if visit.rest not in ((), (DOWNLOAD,)):
            raise not_found(visit.request)
        if visit.rest:
            if visit.posts:
                raise not_allowed(visit.request, "GET", "HEAD")
            return _file(visit)
        if visit.posts:
            return _done(visit)
        state = visit.session.call("capture-state")
        if visit.is_part:
            return page(render("capture-state.html", csrf=visit.session.csrf, **_told(state)))
        return _drawn(visit, state, DEFAULTS | _where(state))


def _where(state: Mapping[str, Json]) -> dict[str, str]:
    """The place that a new capture is mostly wanted at: the last one's, else the VLAN external."""
    own, names = state["own"], [each["name"] for each in state["vlans"]]
    if own is not None:
        return {"where": DECRYPTED if own["decrypted"] else own["place"].removeprefix("VLAN ")}
    return {"where": "/Common/external"} if "/Common/external" in names else {}


def _drawn(
    visit: Visit, state: Mapping[str, Json], given: Mapping[str, str], error: ControlError | None = None
) -> Answer:
    field, sentence = _wrong(error)
    text = framed(
        visit.session,
        "capture.html",
        title="Packet Capture",
        here=ADDRESS,
        given=given,
        kinds=KINDS,
        decrypted=DECRYPTED,
        vlans=state["vlans"],
        decrypts=state["decrypts"],
        limits=state["limits"],
        field=field,
        sentence=sentence,
        xdp=any("XDP" in own["doors"] for own in visit.session.call("show", what="sys tmm-info")),
        **_told(state),
    )
    return page(text, error.http if error else 200)


def _told(state: Mapping[str, Json]) -> dict[str, Json]:
    """The state of a capture, as its template has it."""
    own = state["own"]
    if own is None:
        return {"own": None}
    spent = min(own["seconds"], max(0.0, time.time() - own["began"]))
    return {
        "own": own,
        "began": datetime.fromtimestamp(own["began"], UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "spent": round(spent),
    }


def _wrong(error: ControlError | None) -> tuple[str, str]:
    """The field that an error is about, "" for none, and what it says."""
    if error is None:
        return "", ""
    if isinstance(error, NotFound):
        return "where", error.message
    word, _, rest = error.message.removeprefix("Syntax Error: ").partition(": ")
    field = FIELDS.get(word, word)
    if isinstance(error, SyntaxProblem) and field in DEFAULTS:
        return field, rest
    return "", error.message


def _done(visit: Visit) -> Answer:
    action = visit.form.one("do")
    if action == "stop":
        visit.session.call("capture-stop")
        return elsewhere(ADDRESS)
    if action != "start":
        raise BadRequest(400, "This page has no such button.")
    given = {word: visit.form.one(word, default).strip()[:100] for word, default in DEFAULTS.items()}
    try:
        visit.session.call("capture-start", **_asked(given))
    except (NotFound, Refused, SyntaxProblem, Unavailable) as error:
        return _drawn(visit, visit.session.call("capture-state"), given, error)
    return elsewhere(ADDRESS)


def _asked(given: Mapping[str, str]) -> dict[str, Json]:
    """The call's arguments. A number that is none goes as it is, for the gateway to say so."""
    args: dict[str, Json] = {"kind": given["kind"]}
    args |= {"decrypted": True} if given["where"] == DECRYPTED else {"vlan": given["where"]}
    if given["host"]:
        args["host"] = given["host"]
    for word in NUMBERS:
        text = given[word]
        if text:
            args[word] = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text
    return args


def _file(visit: Visit) -> Answer:
    """All that was taken so far, put together from the pieces that the gateway hands out."""
    own = visit.session.call("capture-state")["own"]
    if own is None:
        raise NotFound("packet capture", "own")
    content = bytearray()
    while piece := base64.b64decode(visit.session.call("capture-read", offset=len(content))["data"]):
        content += piece
    when = datetime.fromtimestamp(own["began"], UTC).strftime("%Y%m%d-%H%M%S")
    return download(bytes(content), f"culvert-{own['link']}-{when}.pcap", PCAP)
