"""What clients ask a system before anything else: who and what it is, and whether it is ready."""

from collections.abc import Callable, Mapping
from typing import Any

from culvert.control.errors import NotFound
from culvert.rest import naming, queries
from culvert.rest.door import Door
from culvert.rest.exchange import Answer, BadRequest, Request, not_allowed

Json = Any
Path = tuple[str, ...]
READY = "yes"
DEVICES = ("mgmt", "tm", "cm", "device")
PROVISION = {"ltm": "nominal"}
MODULES = ("afm", "am", "apm", "asm", "avr", "gtm", "ilx", "lc", "ltm", "pem", "sslo", "swg", "urldb")


class Identity:
    """Answers the device, version and readiness endpoints. Everything needs credentials but the bare availability."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._answers: Mapping[Path, Callable[[Request], Json]] = {
            ("mgmt", "tm", "sys", "version"): self._version,
            ("mgmt", "tm", "cli", "version"): self._cli_version,
            DEVICES: self._devices,
            ("mgmt", "tm", "cm", "sync-status"): lambda request: self._status(request, "sync-status", "Standalone"),
            ("mgmt", "tm", "cm", "failover-status"): lambda request: self._status(request, "failover-status", "ACTIVE"),
            ("mgmt", "tm", "sys", "ready"): self._ready,
            ("mgmt", "tm", "sys", "mcp-state"): self._mcp_state,
            ("mgmt", "tm", "sys", "provision"): self._provision,
            ("mgmt", "tm", "sys", "clock"): self._clock,
            ("mgmt", "tm", "sys", "available"): self._available,
            ("mgmt", "tm", "cm", "available"): self._available,
            ("mgmt", "shared", "echo", "available"): self._available,
            ("mgmt", "shared", "echo-query"): self._echo,
            ("mgmt", "shared", "echo"): self._echo,
            ("mgmt", "shared", "identified-devices", "config", "device-info"): self._device_info,
        }

    def knows(self, segments: Path) -> bool:
        """Whether these segments are one of its endpoints."""
        return segments in self._answers or self._device(segments) is not None

    def answer(self, request: Request) -> Answer:
        """One endpoint. Raises ControlError or BadRequest."""
        if request.segments == DEVICES and request.method == "POST":
            return self._move_device(request)
        if request.method != "GET":
            raise not_allowed(request, "GET", *(("POST",) if request.segments == DEVICES else ()))
        if (name := self._device(request.segments)) is not None:
            return Answer(self._one_device(request, name))
        return Answer(self._answers[request.segments](request))

    @staticmethod
    def _device(segments: Path) -> str | None:
        return segments[4] if segments[:4] == ("mgmt", "tm", "cm", "device") and len(segments) == 5 else None

    def _show(self, request: Request, what: str) -> list[dict[str, Json]]:
        found = self._door.call(request.credentials(), "show", what=what, filters={})
        return list(found)

    def _facts(self, request: Request) -> dict[str, str]:
        """Hostname, and the rows of `show sys version`."""
        own = self._show(request, "sys version")[0]
        described = self._door.call(request.credentials(), "describe")
        return {
            "hostname": str(described["hostname"]),
            "version": str(own["version"]),
            "build": str(own.get("build", "0.0.0")),
            "edition": str(own.get("edition", "Final")),
            "date": str(own.get("date", "")),
        }

    def _version(self, request: Request) -> Json:
        facts = self._facts(request)
        rows = {
            "Build": facts["build"],
            "Date": facts["date"],
            "Edition": facts["edition"],
            "Product": "BIG-IP",
            "Title": f"Culvert {facts['version']}",
            "Version": naming.API_LEVEL,
        }
        entry = {key: {"description": text} for key, text in rows.items()}
        path = "/mgmt/tm/sys/version"
        return {
            "kind": naming.state(("sys", "version"), "stats"),
            "selfLink": naming.link(path),
            "entries": {f"{naming.LOCALHOST}{path}/0": {"nestedStats": {"entries": entry}}},
        }

    def _cli_version(self, request: Request) -> Json:
        self._door.call(request.credentials(), "describe")
        entries = {key: {"description": naming.API_LEVEL} for key in ("active", "latest", "supported")}
        path = "/mgmt/tm/cli/version"
        return {
            "kind": naming.state(("cli", "version"), "stats"),
            "selfLink": naming.link(path),
            "entries": {f"{naming.LOCALHOST}{path}/0": {"nestedStats": {"entries": entries}}},
        }

    def _devices(self, request: Request) -> Json:
        path = "/mgmt/tm/cm/device"
        kind = naming.state(("cm", "device"), "collectionstate")
        items, paging = queries.selected([self._one_device(request, "")], request.query, dict)
        return {"kind": kind, "selfLink": naming.link(path), **paging, "items": items}

    def _one_device(self, request: Request, name: str) -> Json:
        facts = self._facts(request)
        own = facts["hostname"] or "culvert"
        path = f"/mgmt/tm/cm/device/~Common~{own}"
        return {
            "kind": naming.state(("cm", "device")),
            "name": own,
            "partition": "Common",
            "fullPath": f"/Common/{own}",
            "generation": 1,
            "selfLink": naming.link(path),
            "build": facts["build"],
            "chassisId": own,
            "configsyncIp": "none",
            "edition": facts["edition"],
            "failoverState": "active",
            "hostname": own,
            "managementIp": "127.0.0.1",
            "marketingName": f"Culvert {facts['version']}",
            "platformId": "Z100",
            "product": "BIG-IP",
            "selfDevice": "true",
            "timeZone": "UTC",
            "version": naming.API_LEVEL,
        }

    def _move_device(self, request: Request) -> Answer:
        """`{"command": "mv", "name", "target"}`: the one device is called as the host is, and stays so."""
        body = request.body()
        name, target = body.get("name"), body.get("target")
        if body.get("command") != "mv" or not isinstance(name, str) or not isinstance(target, str):
            raise BadRequest(400, "the one command here is mv, with name and target")
        hostname = self._facts(request)["hostname"]
        if hostname not in (name.rpartition("/")[2], target):
            raise NotFound("device", name)
        if hostname != target:
            settings = {"verb": "modify", "kind": "sys global-settings", "names": [""]}
            operation = settings | {"properties": {"hostname": target}}
            self._door.call(request.credentials(), "transaction", operations=[operation])
        return Answer({"kind": "tm:cm:device:mvstate", **{key: body[key] for key in ("command", "name", "target")}})

    def _status(self, request: Request, word: str, status: str) -> Json:
        self._door.call(request.credentials(), "describe")
        path = f"/mgmt/tm/cm/{word}"
        entries = {"color": {"description": "green"}, "status": {"description": status}, "summary": {"description": ""}}
        return {
            "kind": naming.state(("cm", word), "stats"),
            "selfLink": naming.link(path),
            "entries": {f"{naming.LOCALHOST}{path}/0": {"nestedStats": {"entries": entries}}},
        }

    def _ready(self, request: Request) -> Json:
        self._door.call(request.credentials(), "describe")
        path = "/mgmt/tm/sys/ready"
        entries = {key: {"description": READY} for key in ("configReady", "licenseReady", "provisionReady")}
        return {
            "kind": naming.state(("sys", "ready"), "stats"),
            "selfLink": naming.link(path),
            "entries": {f"{naming.LOCALHOST}{path}/0": {"nestedStats": {"entries": entries}}},
        }

    def _mcp_state(self, request: Request) -> Json:
        notes = self._show(request, "sys version")[0].get("notes", [])
        path = "/mgmt/tm/sys/mcp-state"
        load = "full-config-load-succeed" if not notes else "full-config-load-failed"
        rows = {"endPlatformIdReceived": "true", "lastLoad": load, "phase": "running"}
        entries = {key: {"description": text} for key, text in rows.items()}
        return {
            "kind": naming.state(("sys", "mcp-state"), "stats"),
            "selfLink": naming.link(path),
            "entries": {f"{naming.LOCALHOST}{path}/0": {"nestedStats": {"entries": entries}}},
        }

    def _provision(self, request: Request) -> Json:
        self._door.call(request.credentials(), "describe")
        path = "/mgmt/tm/sys/provision"
        every = [
            {
                "kind": naming.state(("sys", "provision")),
                "name": name,
                "fullPath": name,
                "generation": 1,
                "selfLink": naming.link(f"{path}/{name}"),
                "cpuRatio": 0,
                "diskRatio": 0,
                "level": PROVISION.get(name, "none"),
                "memoryRatio": 0,
            }
            for name in MODULES
        ]
        kind = naming.state(("sys", "provision"), "collectionstate")
        items, paging = queries.selected(every, request.query, dict)
        return {"kind": kind, "selfLink": naming.link(path), **paging, "items": items}

    def _clock(self, request: Request) -> Json:
        (own,) = self._show(request, "sys clock")
        path = "/mgmt/tm/sys/clock"
        entries = {"fullDate": {"description": str(own["full_date"])}}
        return {
            "kind": naming.state(("sys", "clock"), "stats"),
            "selfLink": naming.link(path),
            "entries": {f"{naming.LOCALHOST}{path}/0": {"nestedStats": {"entries": entries}}},
        }

    def _available(self, request: Request) -> Json:
        return {}

    def _echo(self, request: Request) -> Json:
        self._door.call(request.credentials(), "describe")
        link = f"{naming.LOCALHOST}{request.path}"
        return {"stage": "STARTED", "kind": "shared:echo:echoworkerstate", "selfLink": link}

    def _device_info(self, request: Request) -> Json:
        facts = self._facts(request)
        return {
            "hostname": facts["hostname"],
            "version": naming.API_LEVEL,
            "build": facts["build"],
            "edition": facts["edition"],
            "product": "BIG-IP",
            "platform": "Z100",
            "machineId": facts["hostname"],
            "managementAddress": "127.0.0.1",
            "isVirtual": True,
            "kind": "shared:resolver:device-groups:deviceinfostate",
            "selfLink": f"{naming.LOCALHOST}{request.path}",
        }
