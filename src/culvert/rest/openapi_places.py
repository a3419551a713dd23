"""Descriptions of the addresses that are no objects of the model: logins, commands, displays, what the system is."""

from typing import Any

from culvert.rest import naming
from culvert.rest.defaults import BARE, EMPTY
from culvert.rest.openapi_parts import (
    OBJECT,
    collection,
    counters,
    media,
    operation,
    query,
    segment,
    thing,
)
from culvert.rest.statistics import RECORDS, TEXTS

Json = Any
TEXT = {"type": "string"}
TOKEN = thing(
    "shared:authz:tokens:authtokenitemstate",
    *("token", "name", "userName", "timeout", "startTime", "address", "partition", "expirationMicros", "selfLink"),
    token=TEXT, name=TEXT, userName=TEXT, timeout={"type": "integer"}, startTime=TEXT, address=TEXT, partition=TEXT,
    expirationMicros={"type": "integer"}, lastUpdateMicros={"type": "integer"}, selfLink=TEXT,
)  # fmt: skip
ACCOUNT = thing("shared:authz:users:usersworkerstate", "name", "displayName", "selfLink", name=TEXT, displayName=TEXT)
LOGGED_IN = {
    "type": "object",
    "required": ["username", "token", "loginProviderName"],
    "properties": {"username": TEXT, "loginProviderName": TEXT, "token": TOKEN},
}
TRANSACTION = thing(
    "tm:transactionstate", "transId", "state", "timeoutSeconds", "selfLink", transId={"type": "integer"},
    state={"enum": ["STARTED", "COMPLETED"]}, timeoutSeconds={"type": "integer"}, validateOnly={"type": "boolean"},
    failureReason=TEXT, selfLink=TEXT,
)  # fmt: skip
RESULT = {"type": "object", "required": ["kind", "command"], "properties": {"kind": TEXT, "commandResult": TEXT}}
SHOWN = {"type": "object", "required": ["kind", "selfLink"], "properties": {"kind": TEXT, "selfLink": TEXT}}


def places() -> dict[str, Json]:
    """All of them, by address."""
    return _logins() | _transactions() | _commands() | _displays() | _identity() | _beyond()


def _logins() -> dict[str, Json]:
    login = {
        "type": "object",
        "required": ["username", "password"],
        "properties": {
            "username": TEXT,
            "password": TEXT,
            "loginProviderName": {"type": "string", "enum": ["tmos", "local", ""]},
        },
    }
    timeout = {
        "type": "object",
        "required": ["timeout"],
        "properties": {"timeout": {"type": "integer", "minimum": 1, "maximum": 36_000}},
    }
    tokens = collection("shared:authz:tokens:authtokencollectionstate", TOKEN)
    people = collection("shared:authz:users:userscollectionstate", ACCOUNT)
    password = {
        "type": "object",
        "required": ["password"],
        "properties": {"password": TEXT, "oldPassword": TEXT},
    }
    return {
        "/mgmt/shared/authn/login": {
            "post": operation("A token for a user and password", LOGGED_IN, body=login) | {"security": []}
        },
        "/mgmt/shared/authn/exchange": {"post": operation("A token again, for longer", LOGGED_IN)},
        "/mgmt/shared/authz/tokens": {"get": operation("The caller's own tokens, each named by a handle", tokens)},
        "/mgmt/shared/authz/users": {"get": operation("Who has an account", people)},
        "/mgmt/shared/authz/users/{name}": {
            "parameters": [segment("name", "A user's name")],
            "get": operation("An account", ACCOUNT),
            "patch": operation("Another password", ACCOUNT, body=password),
        },
        "/mgmt/shared/authz/tokens/{token}": {
            "parameters": [segment("token", "26 letters and digits")],
            "get": operation("A token", TOKEN),
            "patch": operation("Let it live from now", TOKEN, body=timeout),
            "put": operation("The same", TOKEN, body=timeout),
            "delete": operation("Log out", TOKEN),
        },
    }


def _transactions() -> dict[str, Json]:
    commit = {
        "type": "object",
        "required": ["state"],
        "properties": {"state": {"enum": ["VALIDATING", "COMMITTING"]}, "validateOnly": {"type": "boolean"}},
    }
    number = segment("transId", "The number that it began with", {"type": "integer", "minimum": 0})
    commands = collection("tm:transaction:commandscollectionstate", OBJECT)
    return {
        "/mgmt/tm/transaction": {
            "get": operation("The caller's transactions", collection("tm:transactioncollectionstate", TRANSACTION)),
            "post": operation("Begin one", TRANSACTION),
        },
        "/mgmt/tm/transaction/{transId}": {
            "parameters": [number],
            "get": operation("One", TRANSACTION),
            "patch": operation("Carry it out", TRANSACTION, "409", body=commit),
            "put": operation("The same", TRANSACTION, "409", body=commit),
            "delete": operation("Give it up", None),
        },
        "/mgmt/tm/transaction/{transId}/commands": {"parameters": [number], "get": operation("Its commands", commands)},
    }


def _commands() -> dict[str, Json]:
    config = {
        "type": "object",
        "required": ["command"],
        "properties": {
            "command": {"enum": ["save", "load"]},
            "name": TEXT,
            "options": {"type": "array", "items": OBJECT},
        },
    }
    util = {
        "type": "object",
        "required": ["command", "utilCmdArgs"],
        "properties": {"command": {"const": "run"}, "utilCmdArgs": TEXT},
    }
    words = {"bash": "tmsh -c", "unix-mv": "mv", "unix-rm": "rm", "unix-ls": "ls"}
    bare = {"type": "string", "pattern": "^[A-Za-z0-9_][A-Za-z0-9_.-]*$", "maxLength": 200}
    upload = operation(
        "A piece of a file",
        thing("cm:shared:file-transfer:uploads:uploadstate", "remainingByteCount", "totalByteCount", "localFilePath"),
        "507",
        parameters=[
            {
                "name": "Content-Range",
                "in": "header",
                "schema": {"type": "string", "pattern": "^[0-9]{1,9}-[0-9]{1,9}/[0-9]{1,9}$"},
                "description": "first-last/total",
            }
        ],
    )
    upload["requestBody"] = media({"type": "string", "format": "binary"}, "application/octet-stream")
    return {
        "/mgmt/tm/sys/config": {"post": operation("Save or load", RESULT, "409", body=config)},
        **{f"/mgmt/tm/util/{word}": {"post": operation(f"{text}, of uploaded files alone" if word != "bash" else text,
                                                       RESULT, body=util)} for word, text in words.items()},
        "/mgmt/shared/file-transfer/uploads/{file}": {
            "parameters": [segment("file", "A bare name", bare)],
            "post": upload,
        },
    }  # fmt: skip


def _displays() -> dict[str, Json]:
    found: dict[str, Json] = {}
    options = [query("options", TEXT)]
    for path in sorted(TEXTS):
        shown = thing(naming.state(path, "stats"), "selfLink", "apiRawValues", selfLink=TEXT, apiRawValues=OBJECT)
        found[naming.collection_path(path)] = {"get": operation("A display of tmsh", shown, parameters=options)}
    for path in sorted(RECORDS):
        found[naming.collection_path(path)] = {"get": operation("Counters", counters(naming.state(path, "stats")))}
    return found | {f"{path}/stats": own for path, own in found.items()}


def _identity() -> dict[str, Json]:
    found: dict[str, Json] = {}
    path: tuple[str, ...]
    for path, ending in (
        *((("sys", word), "stats") for word in ("version", "ready", "mcp-state", "clock")),
        *((("cm", word), "stats") for word in ("sync-status", "failover-status")),
        (("cli", "version"), "stats"),
    ):
        found[naming.collection_path(path)] = {"get": operation("What it is", counters(naming.state(path, ending)))}
    for path in (("cm", "device"), ("sys", "provision"), *sorted(EMPTY)):
        schema = collection(naming.state(path, "collectionstate"), OBJECT)
        found[naming.collection_path(path)] = {"get": operation("What it is", schema)}
    for path in BARE:
        shown = thing(naming.state(path), "selfLink")
        found[naming.collection_path(path)] = {"get": operation("Nothing is set there", shown)}
    for address in ("/mgmt/tm/sys/available", "/mgmt/tm/cm/available", "/mgmt/shared/echo/available"):
        found[address] = {"get": operation("Whether it is there", OBJECT) | {"security": []}}
    for address in ("/mgmt/shared/echo", "/mgmt/shared/echo-query"):
        found[address] = {"get": operation("The same", thing("shared:echo:echoworkerstate", "selfLink", "stage"))}
    renamed = {
        "type": "object",
        "required": ["command", "name", "target"],
        "properties": {"command": {"const": "mv"}, "name": TEXT, "target": TEXT},
    }
    moved = thing(naming.state(("cm", "device"), "mvstate"), "command", "name", "target")
    found[naming.collection_path(("cm", "device"))]["post"] = operation("The device's name", moved, body=renamed)
    info = thing("shared:resolver:device-groups:deviceinfostate", "hostname", "version", "selfLink")
    found["/mgmt/shared/identified-devices/config/device-info"] = {"get": operation("What it is", info)}
    return found | _packages() | {
        "/mgmt/tm/cm/device/{name}": {
            "parameters": [segment("name", "~Common~host")],
            "get": operation("This system", thing(naming.state(("cm", "device")), "name", "hostname")),
        }
    }


def _packages() -> dict[str, Json]:
    asked = {"type": "object", "required": ["operation"], "properties": {"operation": {"const": "QUERY"}}}
    installed = collection("shared:iapp:global-installed-packages:packagecollectionstate", OBJECT)
    tasks = collection("shared:iapp:package-management-tasks:taskcollectionstate", OBJECT)
    kind = "shared:iapp:package-management-tasks:iapppackagemanagementtaskstate"
    task = thing(kind, "id", "status", "queryResponse", id=TEXT, status={"const": "FINISHED"})
    return {
        "/mgmt/shared/iapp/global-installed-packages": {"get": operation("Extensions: none", installed)},
        "/mgmt/shared/iapp/package-management-tasks": {
            "get": operation("Tasks: none", tasks),
            "post": operation("Ask what extensions there are", task, body=asked),
        },
        "/mgmt/shared/iapp/package-management-tasks/{task}": {
            "parameters": [segment("task", "The id of the one that there is")],
            "get": operation("What extensions there are", task),
        },
    }


def _beyond() -> dict[str, Json]:
    wrong = {"type": "array", "items": {"type": "object", "required": ["what", "why"]}}
    health = {
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"enum": ["ok", "alive", "trouble", "dead"]}, "wrong": wrong},
    }
    well = operation("Whether the gateway is well", health)
    well["security"] = [{}, {"token": []}, {"basic": []}]
    trouble = {"anyOf": [health, {"$ref": "#/components/schemas/Error"}]}
    well["responses"]["503"] = {"description": "Something is wrong"} | media(trouble)
    interval = query("interval", {"type": "number", "minimum": 1, "maximum": 60})
    return {
        "/health": {"get": well},
        "/metrics": {"get": operation("Counters for Prometheus", TEXT, sort="text/plain")},
        "/mgmt/shared/openapi.json": {"get": operation("This description", OBJECT)},
        "/mgmt/shared/events": {
            "get": operation("What changes, as it changes", TEXT, parameters=[interval], sort="text/event-stream")
        },
    }
