"""One request and its answer, free of HTTP's machinery: what handlers take and give."""

import base64
import binascii
import codecs
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from culvert.control.errors import ControlError

Json = Any
TOKEN_HEADER = "x-f5-auth-token"
COORDINATION_HEADER = "x-f5-rest-coordination-id"
API = (("mgmt",), ("health",), ("metrics",))
"""How the API's addresses begin. Whatever else there is are pages for people, where there are any."""

JSON = "application/json"
SECURITY = {
    "Cache-Control": "no-store, no-cache, must-revalidate",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Pragma": "no-cache",
    "Strict-Transport-Security": "max-age=16070400; includeSubDomains",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Headers of every answer, whatever it says."""



class BadRequest(Exception):
    """What is wrong with a request before the gateway was asked. `api` is the vendor's apiError number."""

    def __init__(self, status: int, message: str, api: int = 2, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.api, self.headers = status, message, api, headers or {}


@dataclass(frozen=True, slots=True)
class Request:
    """`segments`: the address between slashes, still quoted. `query`: the last value of each parameter."""

    method: str
    segments: tuple[str, ...]
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    address: str = ""

    @property
    def path(self) -> str:
        return "/" + "/".join(self.segments)

    def body(self) -> dict[str, Json]:
        """The JSON object sent; {} for none. Raises BadRequest."""
        if not self.content.strip():
            return {}
        sort = self.headers.get("content-type", JSON)
        if sort.partition(";")[0].strip().lower() != JSON:
            told = f"The content-type must be {JSON}. The received content-type is {sort[:80]}"
            raise BadRequest(415, f"Found invalid content-type. {told}", 1)
        try:
            # UTF-8 and nothing else (RFC 8259 section 8.1): of octets, Python would guess other encodings, and load
            # modules for them that this process may not read any more.
            found = json.loads(self.content.removeprefix(codecs.BOM_UTF8).decode("utf-8"))
        except (ValueError, RecursionError):
            raise BadRequest(400, "Found invalid JSON body in the request.", 1) from None
        if not isinstance(found, dict):
            raise BadRequest(400, "Found invalid JSON body in the request.", 1)
        return found

    def credentials(self) -> dict[str, str]:
        """What says who asks: a token, or user and password. Raises BadRequest when there is neither."""
        token = self.headers.get(TOKEN_HEADER, "")
        if token:
            return {"token": token, "address": self.address}
        user, password = self.basic()
        if not user:
            raise BadRequest(401, "Authorization failed: no user authentication header or token detected.")
        return {"username": user, "password": password, "address": self.address}

    def basic(self) -> tuple[str, str]:
        """User and password of a Basic header (RFC 7617), both empty when there is none that can be read."""
        scheme, _, encoded = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "basic":
            return "", ""
        try:
            user, _, password = base64.b64decode(encoded.strip(), validate=True).decode("utf-8").partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return user, password


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` None is an empty one."""

    body: Json = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    media: str = "application/json; charset=UTF-8"

    @property
    def octets(self) -> bytes:
        if self.body is None:
            return b""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body, separators=(",", ":")).encode()


def failure(error: ControlError | BadRequest) -> Answer:
    """The vendor's shape of an error."""
    if isinstance(error, BadRequest):
        status, message, api, headers = error.status, error.message, error.api, dict(error.headers)
    else:
        status, message, headers = error.http, error.text.removeprefix("Syntax Error: "), {}
        api = 3 if error.code else 2
        if retry_after := getattr(error, "retry_after", None):
            headers["Retry-After"] = str(int(retry_after) + 1)
    if status == 401:
        headers["WWW-Authenticate"] = 'Basic realm="Enterprise Manager"'
    return Answer({"code": status, "message": message, "errorStack": [], "apiError": api}, status, headers)


def not_found(request: Request) -> BadRequest:
    """An address that nothing stands for."""
    return BadRequest(404, f"Public URI path not registered: {request.path}", 2)


def not_allowed(request: Request, *allowed: str) -> BadRequest:
    """A method that the address doesn't have."""
    sentence = f"{request.method} is not allowed on {request.path}"
    return BadRequest(405, sentence, headers={"Allow": ", ".join(allowed)})
