"""Tokens: login, extend, logout, exchange."""

from datetime import UTC, datetime
from typing import Any

from culvert.rest import naming
from culvert.rest.door import Door
from culvert.rest.exchange import Answer, BadRequest, Request, not_allowed, not_found

Json = Any
LOGIN = ("mgmt", "shared", "authn", "login")
EXCHANGE = ("mgmt", "shared", "authn", "exchange")
TOKENS = ("mgmt", "shared", "authz", "tokens")
PROVIDERS = ("tmos", "local", "")


class Login:
    """Answers requests under /mgmt/shared/authn and /mgmt/shared/authz/tokens."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def login(self, request: Request) -> Answer:
        """`POST {"username", "password", "loginProviderName"}`; a Basic header beside it isn't looked at."""
        if request.method != "POST":
            raise not_allowed(request, "POST")
        body = request.body()
        user, password = body.get("username"), body.get("password")
        if not isinstance(user, str) or not isinstance(password, str):
            raise BadRequest(400, "username and password must not be null in a login request")
        if str(body.get("loginProviderName") or "") not in PROVIDERS:
            raise BadRequest(400, "the login provider of this system is tmos")
        made = self._door.call(None, "login", username=user, password=password, address=request.address)
        return Answer(_logged_in(made))

    def exchange(self, request: Request) -> Answer:
        """A new token for one that still holds, as clients of a central manager renew theirs."""
        if request.method != "POST":
            raise not_allowed(request, "POST")
        credentials = request.credentials()
        self._door.call(credentials, "extend", timeout=1200)
        return Answer(_logged_in(self._door.call(credentials, "token") | credentials))

    def token(self, request: Request, rest: tuple[str, ...]) -> Answer:
        """One token: looked at, extended, given back."""
        if not rest:
            if request.method != "GET":
                raise not_allowed(request, "GET")
            found = self._door.call(request.credentials(), "tokens")
            kind = "shared:authz:tokens:authtokencollectionstate"
            link = f"{naming.LOCALHOST}/mgmt/shared/authz/tokens"
            return Answer({"items": [_item(own) for own in found], "generation": 1, "kind": kind, "selfLink": link})
        if len(rest) > 1:
            raise not_found(request)
        who, token = request.credentials(), rest[0]
        if request.method == "GET":
            return Answer(_item(self._door.call(who, "token", token=token)))
        if request.method in ("PATCH", "PUT"):
            timeout = request.body().get("timeout")
            if not isinstance(timeout, int | str) or not str(timeout).isdecimal() or not str(timeout).isascii():
                raise BadRequest(400, "timeout is a number of seconds")
            return Answer(_item(self._door.call(who, "extend", token=token, timeout=int(str(timeout)[:9]))))
        if request.method == "DELETE":
            own = self._door.call(who, "token", token=token)
            self._door.call(who, "logout", token=token)
            return Answer(_item(own))
        raise not_allowed(request, "GET", "PATCH", "PUT", "DELETE")


def _logged_in(made: dict[str, Json]) -> dict[str, Json]:
    return {
        "username": made["user"],
        "loginReference": {"link": f"{naming.LOCALHOST}/mgmt/cm/system/authn/providers/tmos/login"},
        "loginProviderName": "tmos",
        "token": _item(made),
        "generation": 0,
        "lastUpdateMicros": 0,
    }


def _item(made: dict[str, Json]) -> dict[str, Json]:
    token = str(made["token"])
    started = datetime.fromtimestamp(float(made["started"]), UTC)
    return {
        "token": token,
        "name": token,
        "userName": made["user"],
        "authProviderName": "tmos",
        "user": {"link": f"{naming.LOCALHOST}/mgmt/shared/authz/users/{made['user']}"},
        "timeout": made["timeout"],
        "startTime": started.strftime("%Y-%m-%dT%H:%M:%S.") + f"{started.microsecond // 1000:03d}+0000",
        "address": made["address"],
        "partition": made["partition"],
        "generation": 1,
        "lastUpdateMicros": int(float(made["started"]) * 1e6),
        "expirationMicros": int(float(made["expires"]) * 1e6),
        "kind": "shared:authz:tokens:authtokenitemstate",
        "selfLink": f"{naming.LOCALHOST}/mgmt/shared/authz/tokens/{token}",
    }
