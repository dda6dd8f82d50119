"""Makes matplotlib's SVG files small: the same picture in a third of the bytes."""

import re
import string
from collections import Counter

_GEOMETRY = re.compile(r'\s(?:d|x|y|x1|y1|x2|y2|width|height|transform|points)="[^"]*"')
_NUMBER = re.compile(r"-?\d+\.\d+")
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_UNTURNED = re.compile(r' transform="rotate\(-?0 [^)]*\)"')
_NUMBERED = re.compile(r' id="(?:figure|axes|patch|line2d|text|[xy]tick|matplotlib\.axis|FillBetween\w*)_?\d+"')
_STYLE = re.compile(r' style="([^"]*)"')


def smaller(content: bytes) -> bytes:
    """Returns a file by matplotlib without what it says of itself, coordinates to 0.01 pt, equal styles said once."""
    text = content.decode()
    # What comes before says with which version it was made.
    text = _METADATA.sub("", text[text.index("<svg") :])
    text = _NUMBERED.sub("", _UNTURNED.sub("", text))
    text = _GEOMETRY.sub(lambda found: _NUMBER.sub(_rounded, found[0]), text)
    text = re.sub(r">\s+<", "><", re.sub(r"\s+", " ", text))
    while "<g></g>" in text or re.search(r"<g>(<(?!g\b)[^>]*/>)</g>", text):
        text = re.sub(r"<g>(<(?!g\b)[^>]*/>)</g>", r"\1", text).replace("<g></g>", "")
    return _shared(text).encode()


def _rounded(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")


def _shared(text: str) -> str:
    """Returns the file with a class for every style that it says more than once."""
    uses = Counter(_STYLE.findall(text))
    names = [f"{first}{second}" for first in string.ascii_lowercase for second in string.ascii_lowercase]
    classes = dict(zip((style for style, count in uses.items() if count > 1), names, strict=False))
    text = _STYLE.sub(lambda found: f' class="{classes[found[1]]}"' if found[1] in classes else found[0], text)
    rules = "".join(f".{name}{{{style}}}" for style, name in classes.items())
    return text.replace("</style>", f"{rules}</style>", 1)
