"""Accounts as `/mgmt/shared/authz/users` has them: who they are, and where all change the own password."""

from typing import Any

from culvert.control.errors import NotFound
from culvert.model.auth import USER_KIND
from culvert.rest import naming
from culvert.rest.door import Door
from culvert.rest.exchange import Answer, BadRequest, Request, not_allowed, not_found

Json = Any
USERS = ("mgmt", "shared", "authz", "users")
PATH = "/".join(("", *USERS))


class Users:
    """Answers requests under it. What else an account has stands at /mgmt/tm/auth/user."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def answer(self, request: Request, rest: tuple[str, ...]) -> Answer:
        """One request. Raises ControlError or BadRequest."""
        if len(rest) > 1:
            raise not_found(request)
        if rest and naming.is_pattern(naming.object_name(rest[0])):
            raise NotFound(USER_KIND.title, naming.object_name(rest[0]))
        if rest and request.method == "PATCH":
            return Answer(_item(self._changed(request, naming.object_name(rest[0]))))
        if request.method != "GET":
            raise not_allowed(request, *(("GET", "PATCH") if rest else ("GET",)))
        if rest:
            return Answer(_item(self._listed(request, naming.object_name(rest[0]))[0]))
        items = [_item(own) for own in self._listed(request)]
        kind = "shared:authz:users:userscollectionstate"
        return Answer({"items": items, "generation": 1, "kind": kind, "selfLink": f"{naming.LOCALHOST}{PATH}"})

    def _changed(self, request: Request, name: str) -> Json:
        """`{"oldPassword", "password"}`; whoever may change users needs no old one."""
        body = request.body()
        password, old = body.get("password"), body.get("oldPassword", "")
        if not isinstance(password, str) or not isinstance(old, str):
            raise BadRequest(400, "password is expected, and oldPassword, both texts")
        own = {"kind": USER_KIND.word, "names": [name]}
        operation = {"verb": "modify", **own, "properties": {"password": password}, "old_password": old}
        return self._door.call(request.credentials(), "transaction", operations=[operation], listed=own)["listed"][0]

    def _listed(self, request: Request, name: str = "") -> list[Json]:
        args: dict[str, Json] = {"kind": USER_KIND.word} | ({"names": [name]} if name else {})
        found: list[Json] = self._door.call(request.credentials(), "list", **args)
        if name and not found:
            raise NotFound(USER_KIND.title, name)
        return found


def _item(own: Json) -> dict[str, Json]:
    name = str(own["name"])
    described = own["properties"]["description"]
    return {
        "name": name,
        "displayName": name if described == "none" else described,
        "generation": own["generation"],
        "lastUpdateMicros": 0,
        "kind": "shared:authz:users:usersworkerstate",
        "selfLink": f"{naming.LOCALHOST}{PATH}/{name}",
    }
