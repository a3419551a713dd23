"""What goes wrong below, as the faces tell it."""

from collections.abc import Sequence

from culvert.config import transaction as tx
from culvert.control import errors
from culvert.dataplane.plane import PlaneError
from culvert.model.problems import Invalid, Problem


def told(error: Exception) -> errors.ControlError:
    """The error in the words of the taxonomy."""
    if isinstance(error, errors.ControlError):
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


def _invalid(problems: Sequence[Problem]) -> errors.ControlError:
    """All problems in one error. A single one that is about what is there or isn't has a message of the vendor's."""
    first = problems[0]
    if len(problems) == 1 and first.presence and not first.line:
        made = errors.AlreadyExists if first.presence.there else errors.NotFound
        return made(first.presence.title, first.presence.name)
    whole = errors.InvalidConfiguration("\n".join(map(str, problems)))
    whole.line, whole.column = first.line or None, first.column or None
    return whole
