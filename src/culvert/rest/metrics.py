"""`GET /metrics`: counters in Prometheus's text format (version 0.0.4)."""

from collections.abc import Iterator, Mapping
from typing import Any

from culvert.rest.door import Door
from culvert.rest.exchange import Answer, Request, not_allowed

Json = Any
MEDIA = "text/plain; version=0.0.4; charset=utf-8"
SA_ROWS = (
    ("packets", "culvert_sa_packets_total", "Packets through a security association.", "counter"),
    ("bytes", "culvert_sa_bytes_total", "Octets through a security association.", "counter"),
    ("lost", "culvert_sa_lost_total", "Packets that an inbound SA's numbers say are missing.", "counter"),
    ("sequence", "culvert_sa_sequence", "The newest sequence number.", "gauge"),
    ("last_use", "culvert_sa_last_use_seconds", "When it was last used, since the epoch; 0 is never.", "gauge"),
)


class Metrics:
    """Per SA, per reason, per worker and per virtual server, asked as the user who asks."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def answer(self, request: Request) -> Answer:
        """Raises ControlError or BadRequest."""
        if request.method != "GET":
            raise not_allowed(request, "GET")
        return Answer("\n".join(self._lines(request.credentials())).encode() + b"\n", media=MEDIA)

    def _show(self, who: Mapping[str, str], what: str) -> list[dict[str, Json]]:
        return list(self._door.call(who, "show", what=what, filters={}))

    def _lines(self, who: Mapping[str, str]) -> Iterator[str]:
        sas = self._show(who, "net ipsec ipsec-sa")
        labels = [{key: own[key] for key in ("name", "direction", "protocol", "spi")} for own in sas]
        for key, name, text, sort in SA_ROWS:
            yield from _head(name, text, sort)
            for label, own in zip(labels, sas, strict=True):
                yield _line(name, label, own[key])
        yield from _head("culvert_sa_drops_total", "Packets that died at a security association, by reason.", "counter")
        for label, own in zip(labels, sas, strict=True):
            for reason, count in own["drops"].items():
                yield _line("culvert_sa_drops_total", label | {"reason": reason}, count)
        yield from self._of_all(who)

    def _of_all(self, who: Mapping[str, str]) -> Iterator[str]:
        yield from _head("culvert_drops_total", "Packets that died, by reason.", "counter")
        for own in self._show(who, "net ipsec drops"):
            yield _line("culvert_drops_total", {"reason": own["reason"]}, own["packets"])
        rows = self._show(who, "net ipsec-stat")
        for direction in ("in", "out"):
            for key in ("packets", "bytes"):
                name = f"culvert_worker_{key}_{direction}_total"
                yield from _head(name, f"{key.capitalize()} {direction} by worker, mode and protocol.", "counter")
                for own in rows:
                    label = {"worker": own["worker"], "mode": own["mode"].lower(), "protocol": own["protocol"].lower()}
                    yield _line(name, label, own[f"{key}_{direction}"])
        yield from _head("culvert_virtual_packets_total", "Packets that a virtual server accepted.", "counter")
        for own in self._show(who, "ltm virtual"):
            yield _line("culvert_virtual_packets_total", {"name": own["name"]}, own["packets"])
        yield from _head("culvert_up", "1 for a packet process that runs.", "gauge")
        for own in self._show(who, "sys tmm-info"):
            yield _line("culvert_up", {"worker": own["tmm"], "engine": own["engine"]}, int(own["state"] == "running"))


def _head(name: str, text: str, sort: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {sort}"


def _line(name: str, labels: Mapping[str, Json], value: float) -> str:
    inside = ",".join(f'{key}="{_escaped(str(text))}"' for key, text in labels.items())
    return f"{name}{{{inside}}} {value}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
