"""Passwords in URLs, hidden wherever a command line or a URL is recorded or shown."""

import re
from collections.abc import Sequence

HIDDEN = "***"
HINT = (
    "--storage: the URL holds a password, which others on this machine can read in the list of processes. Nothing is "
    "recorded with it; better, leave it out and put it into PGPASSWORD or ~/.pgpass"
)

_START = r"[A-Za-z][A-Za-z0-9+.-]*://[^\s:/@?#'\"]*:"
# The last @ counts: one in a password should be written %40, but may not be.
_IN_TEXT = re.compile(rf"({_START})[^\s'\"<>]{{0,500}}@")
_IN_WORD = re.compile(rf"\A((?:-{{1,2}}[\w.]+=)?{_START}).*@", re.DOTALL)
_QUERY = re.compile(r"([?&][\w.%-]*(?:password|passwd|pwd|secret|token)[\w.%-]*=)[^&#\s'\"<>]*", re.IGNORECASE)
_QUERY_IN_WORD = re.compile(_QUERY.pattern.replace(r"[^&#\s'\"<>]*", "[^&#]*"), re.IGNORECASE)


def hide(text: str) -> str:
    """Returns a text with `***` for every password in its URLs; where all of it is one URL, whatever is in that."""
    if _IN_WORD.match(text) and "\n" not in text.strip():
        return _hide(text, _IN_WORD, _QUERY_IN_WORD)
    return _hide(text, _IN_TEXT, _QUERY)


def words(argv: Sequence[str]) -> list[str]:
    """Returns a command line, as typed but for the passwords in it."""
    return [hide(word) for word in argv]


def _hide(text: str, user: re.Pattern[str], query: re.Pattern[str]) -> str:
    return query.sub(rf"\g<1>{HIDDEN}", user.sub(rf"\g<1>{HIDDEN}@", text))
