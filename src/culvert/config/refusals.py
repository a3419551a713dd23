"""What the present configuration does not allow to be done to it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Refusal(Exception):
    """An operation that the present configuration does not allow. `title` and `name` say on what."""

    title: str
    name: str


class Exists(Refusal):
    """The object to create is there already."""


class Missing(Refusal):
    """The object to change, to delete or to name is not there."""


@dataclass(frozen=True, slots=True)
class InUse(Refusal):
    """The object to delete is named by another."""

    user_title: str
    user_name: str
