"""Charts by matplotlib: for both themes of a page, and as files for papers and slides; the same bytes each time.

The SVG files are made small: the same picture in a third of matplotlib's bytes.
"""

import contextlib
import dataclasses
import functools
import io
import re
import string
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from cnn.report.colormap import THEMES, Theme, address
from cnn.report.html import Figure

if TYPE_CHECKING:
    from matplotlib import figure as drawing

INCH = 96
"""CSS pixels."""


@dataclasses.dataclass(frozen=True)
class Ink:
    """The colours of a theme's charts: at least 4.5:1 for text and 3:1 for lines on the theme's paper."""

    theme: Theme
    text: str
    muted: str
    grid: str
    blue: str
    orange: str
    paper: str


INKS = {
    "light": Ink("light", "#1a1a1a", "#595959", "#d0d0d0", "#0072B2", "#C24E00", "#f5f5f5"),
    "dark": Ink("dark", "#ebebeb", "#b0b0b0", "#4a4a4a", "#56B4E9", "#E69F00", "#1f1f1f"),
}
INK = INKS["light"]
"""What charts are drawn in; the page recolours them for the other theme."""

Paint = Callable[["drawing.Figure", Ink], None]
"""Draws on an empty figure."""


def prepare() -> None:
    """Draws something, for which the first chart of a process imports what draws and looks for fonts."""
    files("axes", (96, 96), _axes)


def _axes(figure: "drawing.Figure", _: Ink) -> None:
    figure.subplots()


def draw(name: str, size: tuple[int, int], label: str, paint: Paint) -> tuple[Markup, dict[str, Figure]]:
    """Returns a chart for the page, in both themes, and its files `<name>.svg` and `<name>.png`.

    Args:
      name: of the files, without ending.
      size: width and height in CSS pixels.
      label: one sentence that says what the chart shows.
      paint: draws in the colours of an ink and no others, so that another ink makes another theme of the same drawing.
    """
    light, figure = _paint(name, size, paint)
    drawn = {theme: recoloured(light, INK, INKS[theme]) for theme in THEMES}
    html = Markup("").join(
        Markup('<img class="chart {}" width="{}" height="{}" alt="{}" src="{}">').format(
            theme, *size, label, address(drawn[theme], "image/svg+xml")
        )
        for theme in THEMES
    )
    return html, _files(name, light, figure)


def files(name: str, size: tuple[int, int], paint: Paint) -> dict[str, Figure]:
    """Returns the files of a chart that the page shows in another way, as `draw` does."""
    return _files(name, *_paint(name, size, paint))


def recoloured(drawn: bytes, ink: Ink, other: Ink) -> bytes:
    """Returns an SVG file drawn in one ink in the colours of another; drawing it again would take ten times as long."""
    names = [field.name for field in dataclasses.fields(Ink) if field.name != "theme"]
    table = {getattr(ink, name).lower(): getattr(other, name).lower() for name in names}
    # Only where a colour is asked for: what people wrote may look like one.
    pattern = re.compile(r"((?:fill|stroke): ?)(" + "|".join(map(re.escape, table)) + r")\b")
    return pattern.sub(lambda found: found[1] + table[found[2]], drawn.decode()).encode()


def _paint(name: str, size: tuple[int, int], paint: Paint, ink: Ink = INK) -> tuple[bytes, "drawing.Figure"]:
    """Returns a chart as SVG, and what it was drawn from."""
    from matplotlib import figure as drawing  # a fifth of a second that a run without a page does not pay

    stream = io.BytesIO()
    with _settings(ink, salt=name):
        figure = drawing.Figure(figsize=(size[0] / INCH, size[1] / INCH), dpi=INCH)
        paint(figure, ink)
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return smaller(stream.getvalue()), figure


def _files(name: str, drawn: bytes, figure: "drawing.Figure") -> dict[str, Figure]:
    return {f"{name}.svg": drawn, f"{name}.png": functools.partial(_png, figure)}


def _png(figure: "drawing.Figure") -> bytes:
    stream = io.BytesIO()
    with _settings():
        figure.savefig(stream, format="png", dpi=2 * INCH, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


@contextlib.contextmanager
def _settings(ink: Ink = INK, salt: str = "") -> Iterator[None]:
    """Draws the same bytes each time."""
    from matplotlib import rc_context

    settings: Any = {
        "svg.hashsalt": salt,
        "svg.fonttype": "none",  # text stays text: small, and searchable
        "text.parse_math": False,
        "path.simplify": False,  # every number that is drawn is one that was recorded
        "font.family": "DejaVu Sans",
        "font.size": 9.0,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": ink.muted,
        "axes.labelcolor": ink.text,
        "text.color": ink.text,
        "xtick.color": ink.muted,
        "ytick.color": ink.muted,
        "axes.grid": True,
        "grid.color": ink.grid,
        "grid.linewidth": 0.6,
        "hatch.color": ink.muted,
        "hatch.linewidth": 0.6,
    }
    with rc_context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a class may be named in any script
        yield


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
