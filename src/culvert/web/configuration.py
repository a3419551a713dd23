"""System > Configuration: what runs and what is saved, history, differences, the way back, and files in and out."""

import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from culvert.control.errors import ControlError, Refused
from culvert.model import clear_keys
from culvert.rest.exchange import Answer, BadRequest, not_found
from culvert.web.diffs import Difference, difference
from culvert.web.rendering import framed, render
from culvert.web.visit import Visit, download, elsewhere, page

Json = Any
HERE = "/configuration"
TITLE = "Configuration"
RUNNING, SAVED = "running", "saved"
MERGE, REPLACE = "merge", "replace"
ADVICE_MOST = 1500
_PLACED = re.compile(r"line (\d+), column (\d+): (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a text; line and column "" where it has none."""

    line: str
    column: str
    sentence: str


class Configuration:
    """Answers under /configuration."""

    def answer(self, visit: Visit) -> Answer:
        """A page, or what a form of one asks for. Raises ControlError, BadRequest."""
        word, rest = (visit.rest[0] if visit.rest else ""), visit.rest[1:]
        if word == "text" and len(rest) == 1:
            return _downloaded(visit, rest[0])
        pages = {"": _main, "save": _save, "difference": _difference, "rollback": _rollback, "upload": _upload}
        if rest or word not in pages:
            raise not_found(visit.request)
        return pages[word](visit)


def text_of(visit: Visit, which: str) -> str:
    """The text of `running`, `saved` or a generation's number. Raises BadRequest, ControlError."""
    if which == RUNNING:
        return str(visit.session.call("text"))
    if which == SAVED:
        return str(visit.session.call("text", saved=True))
    if not which.isascii() or not which.isdigit() or len(which) > 9:
        raise BadRequest(404, f"There is no configuration {which}: it is running, saved, or a number of the history.")
    return str(visit.session.call("text", generation=int(which)))


def _main(visit: Visit) -> Answer:
    generations: list[dict[str, Json]] = []
    found, trouble, refused = Difference(), "", ""
    try:
        generations = _generations(visit)
        found = difference(text_of(visit, SAVED), text_of(visit, RUNNING))
    except Refused as error:
        refused = error.message
    except ControlError as error:
        # A saved text that doesn't load: nothing runs, and the way back is on this page.
        trouble = error.message
    text = framed(
        visit.session,
        "configuration.html",
        title=TITLE,
        here=HERE,
        difference=found,
        trouble=trouble,
        refused=refused,
        generations=generations,
        never_saved=not generations,
        **_news(visit),
    )
    return page(text)


def _told(visit: Visit, said: str, number: str, backup: str = "", warnings: Sequence[str] = ()) -> dict[str, str]:
    """What was done, as parameters of the page that comes next; signed, so that nobody else's link puts words there."""
    words = {"said": said, "number": number, "backup": backup, "advice": "\n".join(warnings)[:ADVICE_MOST]}
    return words | {"sign": visit.session.sign("\0".join(words.values()))}


def _news(visit: Visit) -> dict[str, str]:
    """What the page before has to tell."""
    words = {word: visit.asked(word) for word in ("said", "number", "backup", "advice")}
    genuine = hmac.compare_digest(visit.session.sign("\0".join(words.values())).encode(), visit.asked("sign").encode())
    return words if genuine else dict.fromkeys(words, "")


def _generations(visit: Visit) -> list[dict[str, Json]]:
    """The history, newest first."""
    return [
        {**own, "when": _moment(own["saved_at"]), "short": own["sha256"][:12]}
        for own in reversed(visit.session.call("generations"))
    ]


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _save(visit: Visit) -> Answer:
    if not visit.posts:
        return elsewhere(HERE)
    made = visit.session.call("save")
    return elsewhere(HERE, _told(visit, "saved", str(made["generation"])))


def _difference(visit: Visit) -> Answer:
    old, new = visit.asked("old", SAVED), visit.asked("new", RUNNING)
    text = framed(
        visit.session,
        "configuration-difference.html",
        title="Difference",
        here=HERE,
        old=old,
        new=new,
        difference=difference(text_of(visit, old), text_of(visit, new)),
        generations=_generations(visit),
    )
    return page(text)


def _downloaded(visit: Visit, which: str) -> Answer:
    content = text_of(visit, which)
    name = f"culvert-{which}.conf" if which in (RUNNING, SAVED) else f"culvert-generation-{which}.conf"
    return download(content.encode(), name, "text/plain; charset=utf-8")


def _rollback(visit: Visit) -> Answer:
    """Shows what would change, and after that does it."""
    which = visit.form.one("generation") if visit.posts else visit.asked("generation")
    wanted = text_of(visit, which)
    if which == RUNNING:
        return elsewhere(HERE)
    if visit.posts:
        made = visit.session.call("load", text=wanted, merge=False, verify=False)
        return elsewhere(HERE, _told(visit, "rolled-back", which, str(made["backup"]), made["warnings"]))
    faults, warnings = verified(visit, wanted, REPLACE)
    text = framed(
        visit.session,
        "configuration-rollback.html",
        title=f"Roll Back to Generation {which}" if which != SAVED else "Go Back to What Is Saved",
        here=HERE,
        which=which,
        faults=faults,
        warnings=warnings,
        difference=_from_running(visit, wanted),
    )
    return page(text)


def _from_running(visit: Visit, wanted: str) -> Difference:
    try:
        running = text_of(visit, RUNNING)
    except ControlError:
        running = ""  # Nothing runs: its text didn't load.
    return difference(running, wanted)


def verified(visit: Visit, text: str, how: str) -> tuple[list[Fault], list[str]]:
    """What is wrong with a text, and what is only unwise. Raises ControlError when nobody looked."""
    try:
        answer = visit.session.call("load", text=text, merge=how == MERGE, verify=True)
    except ControlError as error:
        if error.http == 400:
            return _faults(error.message), []
        raise
    return [], list(answer["warnings"])


def _faults(message: str) -> list[Fault]:
    """culvertd tells them one a line."""
    found = []
    for sentence in message.removeprefix("Configuration error: ").splitlines():
        placed = _PLACED.fullmatch(sentence)
        found.append(Fault(*placed.groups()) if placed else Fault("", "", sentence))
    return found


def _upload(visit: Visit) -> Answer:
    """A text that somebody brings. It isn't sent back: there may be keys in it.

    So the second press, which confirms, brings the text again (the browser still has it in the field), and a sign over
    the text that was looked at shows that it is the same.
    """
    if not visit.posts:
        return _uploaded(visit)
    try:
        return _brought(visit, visit.form.one("text").replace("\r\n", "\n"), visit.form.one("do"))
    except ControlError as error:
        return _uploaded(visit, trouble=error.message)


def _brought(visit: Visit, text: str, how: str) -> Answer:
    if how not in (MERGE, REPLACE, "verify") or not text.strip():
        return _uploaded(visit, trouble="Type or choose a text first." if not text.strip() else "")
    faults, warnings = verified(visit, text, how)
    sign = visit.session.sign(f"{how} {sha256(text.encode('utf-8', 'replace')).hexdigest()}")
    if faults or how == "verify" or visit.form.one("confirmed") != sign:
        return _uploaded(
            visit,
            how=how,
            faults=faults,
            warnings=warnings,
            sign="" if faults or how == "verify" else sign,
            lines=text.count("\n") + 1,
            difference=None if faults or how == MERGE else _from_running(visit, clear_keys.hide(text)),
        )
    made = visit.session.call("load", text=text, merge=how == MERGE, verify=False)
    return _done(visit, how, made)


def _done(visit: Visit, how: str, made: Mapping[str, Json]) -> Answer:
    answer = elsewhere(HERE, _told(visit, f"{how}d", "", str(made["backup"]), made["warnings"]))
    if not visit.is_part:
        return answer
    return Answer(b"", 200, {"HX-Redirect": answer.headers["Location"]}, answer.media)


def _uploaded(
    visit: Visit,
    *,
    trouble: str = "",
    how: str = "",
    faults: Sequence[Fault] = (),
    warnings: Sequence[str] = (),
    sign: str = "",
    lines: int = 0,
    difference: Difference | None = None,
) -> Answer:
    """The page with the field, or for htmx what there is to say about the text alone."""
    words: dict[str, Json] = {
        "trouble": trouble,
        "how": how,
        "faults": faults,
        "warnings": warnings,
        "sign": sign,
        "lines": lines,
        "difference": difference,
    }
    if visit.is_part:
        return page(render("configuration-outcome.html", **words, whole=False))
    status = 400 if faults or trouble else 200
    text = framed(
        visit.session, "configuration-upload.html", title="Upload a Configuration", here=HERE, **words, whole=True
    )
    return page(text, status)
