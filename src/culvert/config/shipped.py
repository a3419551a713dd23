"""The objects that every system comes with."""

from culvert.config.snapshot import Key, Snapshot
from culvert.model import text
from culvert.model.fields import Raw, Reader
from culvert.model.kind import Object
from culvert.model.names import COMMON
from culvert.model.problems import BadValue
from culvert.model.registry import KINDS, SHIPPED_TEXT


class _Unsealed:
    """The sealer of texts that hold no key."""

    def seal(self, secret: object) -> str:
        raise BadValue("no key is expected here")

    def unseal(self, text: str) -> Raw:
        raise BadValue("no key is expected here")

    def hash_password(self, password: object) -> str:
        raise BadValue("no password is expected here")


def _shipped() -> Snapshot:
    drafts, problems = text.read(SHIPPED_TEXT, KINDS)
    assert not problems, problems
    reader = Reader(COMMON, _Unsealed())
    changes: dict[Key, Object | None] = {}
    for draft in drafts:
        values = {
            own.word: own.type.parse(draft.raw[own.word], reader) if own.word in draft.raw else own.default
            for own in draft.kind.fields
        }
        changes[draft.kind.path, draft.name] = Object(draft.kind, draft.name, values)
    return Snapshot().with_changes(changes)


SHIPPED = _shipped()


def is_shipped(own: Object) -> bool:
    """Whether the object is one that every system has, as it came."""
    return SHIPPED.get(own.kind.path, own.name) == own
