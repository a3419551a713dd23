"""Server-sent events: what changes in the configuration, the SAs and the counters, as it changes.

The stream asks culvertd by the same calls as everybody else, once in each interval, as the user who opened it, and ends
when that user's token does.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from culvert.control.errors import ControlError
from culvert.rest.door import Door
from culvert.rest.exchange import SECURITY, BadRequest, Request, failure

Json = Any
EVENTS = ("mgmt", "shared", "events")
STREAMS_MAX = 16
INTERVAL_SECONDS, SLOWEST_SECONDS = 1.0, 60.0
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]


class Events:
    """The open streams, of which there are only so many."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._open = 0

    async def serve(self, request: Request, receive: Receive, send: Send, threads: ThreadPoolExecutor) -> None:
        """One stream, until the client or its token goes."""
        loop = asyncio.get_running_loop()
        try:
            interval = _interval(request.query.get("interval", ""))
            if self._open >= STREAMS_MAX:
                raise BadRequest(503, f"{STREAMS_MAX} streams of events are open already")
            last = await loop.run_in_executor(threads, self._look, request)
        except (BadRequest, ControlError) as error:
            answer = failure(error)
            lines = _lines({**answer.headers, "Content-Type": answer.media, "Content-Length": str(len(answer.octets))})
            await send({"type": "http.response.start", "status": answer.status, "headers": lines})
            await send({"type": "http.response.body", "body": answer.octets})
            return
        self._open += 1
        gone = asyncio.ensure_future(_gone(receive))
        try:
            lines = _lines({"Content-Type": "text/event-stream"})
            await send({"type": "http.response.start", "status": 200, "headers": lines})
            await send({"type": "http.response.body", "body": _event("state", last), "more_body": True})
            while not gone.done():
                await asyncio.wait({gone}, timeout=interval)
                try:
                    now = await loop.run_in_executor(threads, self._look, request)
                except ControlError as error:
                    await send({"type": "http.response.body", "body": _event("end", {"reason": error.text})})
                    return
                await send({"type": "http.response.body", "body": changes(last, now), "more_body": True})
                last = now
        finally:
            self._open -= 1
            gone.cancel()

    def _look(self, request: Request) -> dict[str, Json]:
        who = request.credentials()
        described = self._door.call(who, "describe")
        sas = self._door.call(who, "show", what="net ipsec ipsec-sa", filters={})
        drops = self._door.call(who, "show", what="net ipsec drops", filters={})
        return {
            "generation": described["generation"],
            "sas": {own["name"]: own for own in sas},
            "drops": {str(own.get("reason", index)): own for index, own in enumerate(drops)},
        }


def _lines(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in {**SECURITY, **headers}.items()]


def changes(before: Mapping[str, Json], now: Mapping[str, Json]) -> bytes:
    """The events between two looks; a comment when nothing changed, so that a dead client is noticed."""
    found = b""
    if now["generation"] != before["generation"]:
        found += _event("configuration", {"generation": now["generation"]})
    for name in sorted(now["sas"].keys() | before["sas"].keys()):
        old, new = before["sas"].get(name), now["sas"].get(name)
        if old is None or new is None:
            found += _event("sa-added" if old is None else "sa-removed", new or old)
        elif old != new:
            found += _event("sa", {"name": name} | {key: value for key, value in new.items() if old.get(key) != value})
    if now["drops"] != before["drops"]:
        found += _event("drops", [own for key, own in now["drops"].items() if before["drops"].get(key) != own])
    return found or b": nothing new\n\n"


def _event(name: str, data: Json) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n".encode()


def _interval(text: str) -> float:
    try:
        found = float(text) if text else INTERVAL_SECONDS
    except ValueError:
        raise BadRequest(400, "interval is a number of seconds") from None
    if not INTERVAL_SECONDS <= found <= SLOWEST_SECONDS:
        raise BadRequest(400, f"interval is from {INTERVAL_SECONDS:g} to {SLOWEST_SECONDS:g} seconds")
    return found


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
