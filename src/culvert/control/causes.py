"""What went wrong below, as the one taxonomy of errors that faces know."""

from collections.abc import Sequence

from culvert.config import transaction as tx
from culvert.control import errors
from culvert.control.errors import ControlError
from culvert.dataplane.plane import PlaneError
from culvert.model.problems import Invalid, Problem


def told(error: Exception) -> ControlError:
    """The error as the faces tell it."""
    if isinstance(error, ControlError):
        return error
    if isinstance(error, tx.InUse):
        return errors.InUse(error.title, error.name, error.user_title, error.user_name)
    if isinstance(error, tx.Exists):
        return errors.AlreadyExists(error.title, error.name)
    if isinstance(error, tx.Missing):
        return errors.NotFound(error.title, error.name)
    if isinstance(error, Invalid):
        return _invalid(error.problems)
    if isinstance(error, PlaneError):
        return errors.InvalidConfiguration(error.sentence)
    return errors.Unavailable(str(error))


def _invalid(problems: Sequence[Problem]) -> ControlError:
    """All problems in one error. A single one that is about what is there or isn't has a message of the vendor's."""
    first = problems[0]
    told: ControlError
    if len(problems) == 1 and first.presence and not first.line:
        made = errors.AlreadyExists if first.presence.there else errors.NotFound
        told = made(first.presence.title, first.presence.name)
    else:
        told = errors.InvalidConfiguration("\n".join(map(str, problems)))
        told.line, told.column = first.line or None, first.column or None
    told.problems = [
        {"title": own.title, "name": own.name, "word": own.word, "sentence": own.sentence} for own in problems
    ]
    return told
