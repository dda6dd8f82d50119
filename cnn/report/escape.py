"""Text that users chose, made harmless and legible: templates that escape, names, JSON inside of HTML."""

import json
import math
import unicodedata
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

FOLDER = Path(__file__).parent
NAME_LENGTH, TITLE_LENGTH = 32, 1000
"""The most characters of a name that are shown, and that pointing at it shows."""
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Controls, formats (direction marks among them), lone surrogates, separators of lines and paragraphs."""
_JOINERS = "\u200c\u200d"
"""Characters of format that letters and emoji need."""


def render(template: str, **context: Any) -> Markup:
    """Returns a template of this package with everything in it escaped that is not our own `Markup`.

    Raises:
      UndefinedError: the template names something that is not in the context.
    """
    return Markup(_ENVIRONMENT.get_template(template).render(**context))


def compile_templates() -> None:
    """Compiles every template, so that the first page need not."""
    for name in _ENVIRONMENT.list_templates(extensions=["j2"]):
        _ENVIRONMENT.get_template(name)


def source(name: str) -> str:
    """Returns a sheet of CSS or a script of this package."""
    return (FOLDER / "templates" / name).read_text()


def visible(text: object) -> str:
    """Returns a text with what is invisible or would steer its surroundings written as an escape."""
    return "".join(map(_shown, str(text)))


def visible_lines(text: object) -> str:
    """Returns a text as `visible` does, its lines still apart."""
    return "\n".join(map(visible, str(text).split("\n")))


def _shown(letter: str) -> str:
    if unicodedata.category(letter) not in _HIDDEN or letter in _JOINERS:
        return letter
    if 0xD800 <= ord(letter) <= 0xDFFF:
        return "\ufffd"
    return f"\\x{ord(letter):02x}" if ord(letter) < 256 else f"\\u{ord(letter):04x}"


def shortened(text: object, length: int = NAME_LENGTH) -> str:
    """Returns a visible text of at most so many characters; `(no name)` for none."""
    whole = visible(text) or "(no name)"
    return whole if len(whole) <= length else f"{whole[: length - 1]}…"


def value(given: Any) -> str:
    """Returns a config's value as text on one line: a text as it is, unless it is empty, anything else as JSON."""
    return " ".join(given.split()) if isinstance(given, str) and given.strip() else json.dumps(given)


def name(text: object, length: int = NAME_LENGTH) -> Markup:
    """Returns a name that the user chose: apart from the direction of the text around, whole when pointed at."""
    return Markup('<bdi dir="auto" title="{}">{}</bdi>').format(shortened(text, TITLE_LENGTH), shortened(text, length))


def island(content: Any) -> Markup:
    """Returns JSON that may stand in a `<script>`; a number that is not finite is null.

    Where there are such, and the content is an object, its list `nonfinite` names them: `["losses.3"]`.
    """
    missing: list[str] = []
    clean = _finite(content, "", missing)
    if missing and isinstance(clean, dict):
        clean = {**clean, "nonfinite": missing}
    text = json.dumps(clean, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _finite(value: Any, path: str, missing: list[str]) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        missing.append(path.lstrip("."))
        return None
    if isinstance(value, dict):
        return {str(key): _finite(entry, f"{path}.{key}", missing) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(entry, f"{path}.{index}", missing) for index, entry in enumerate(value)]
    return value


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.globals.update(name=name)
_ENVIRONMENT.filters.update(visible=visible)
