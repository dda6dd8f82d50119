"""One HTML file out of sections: no request, no handler, and a policy by which the browser enforces both.

A section is a function `build(run) -> PageSection | None` in a module of its own, listed in
`cnn.report.run_page.SECTIONS`.
"""

import base64
import dataclasses
import functools
import gzip
import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import rcssmin
import rjsmin
from markupsafe import Markup

from cnn.report import escape

Figure = bytes | Callable[[], bytes]
"""A file's content, or what draws it: not called where the same drawing in another format is there as it was."""


@dataclasses.dataclass(frozen=True)
class PageSection:
    """One section of a page, whole without script.

    Attributes:
      id: names the section in the address (`report.html#curves`); unique in the page.
      title: the heading, as plain text.
      html: what stands under the heading. No `style` attribute and no `on...` handler: the page's policy forbids both.
      styles: sheets of CSS for the page's one `<style>`; the same text from several parts is written once.
      scripts: classic scripts, run in order after the whole document is there and after the page's own script, whose
        global `page` they use; the same text from several parts is written once.
      data: what the scripts read, by the id of its element. Bytes are compressed (`await page.blob(id)` returns them as
        an ArrayBuffer); anything else is JSON (`page.data(id)` returns it).
      figures: the section's static figures, by the name of their file in the run's folder `figures`; or what returns
        them, where the page does not show the same drawing.
      short: the title in the table of contents, where it is too long for that.
    """

    id: str
    title: str
    html: Markup
    styles: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    figures: Mapping[str, Figure] | Callable[[], Mapping[str, Figure]] = dataclasses.field(default_factory=dict)
    short: str = ""


def figures(sections: Iterable[PageSection]) -> dict[str, Figure]:
    """Returns the static figures of all sections, by the name of their file."""
    drawn = [section.figures() if callable(section.figures) else section.figures for section in sections]
    return {name: figure for each in drawn for name, figure in each.items()}


POLICY = (
    "default-src 'none'; script-src {scripts}; style-src {styles}; img-src data:; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
SURROGATES = re.compile("[\ud800-\udfff]")
DIGITS = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%:()*+-;.=,?@^_`{|}~"
"""Of base 85, as Python's `base64` writes them, but for what means something in HTML."""


def assemble(title: str, head: Markup, parts: Sequence[PageSection], *, kind: str) -> bytes:
    """Returns the page as the bytes of a file; equal arguments give equal bytes.

    Args:
      title: plain text.
      head: what stands above the sections.
      parts: the sections, in order.
      kind: what the page is about, `run` or `sweep`; `<html data-kind>`.
    """
    style = compact_style(
        "\n".join(_once([escape.source("page.css"), *(css for part in parts for css in part.styles)]))
    )
    scripts = _once([escape.source("page.js"), *(script for part in parts for script in part.scripts)])
    scripts = [compact_script(script) for script in scripts]
    for script in [style, *scripts]:
        if re.search(r"</(?:script|style)|<!--|<script", script, re.IGNORECASE):
            raise ValueError("a script or a style holds what would end its element or begin another.")
    ids = [*(part.id for part in parts), *(name for part in parts for name in part.data)]
    if len(set(ids)) < len(ids):
        raise ValueError(f"parts: ids must be unique in the page, got {ids}. Name them after their part.")
    html = escape.render(
        "page.html.j2",
        kind=kind,
        policy=POLICY.format(scripts=" ".join(map(_hash, scripts)), styles=_hash(style)),
        title=escape.visible(title),
        head=head,
        parts=parts,
        style=Markup(style),
        scripts=[Markup(script) for script in scripts],
        islands=[(name, escape.island(value)) for name, value in _data(parts) if not isinstance(value, bytes)],
        blobs=[(name, packed(value).decode()) for name, value in _data(parts) if isinstance(value, bytes)],
    )
    return SURROGATES.sub("\ufffd", html).encode()


def compact_script(source: str) -> str:
    """Returns a script without its comments and indentation; every name stays as it is written."""
    # Parsers read CR LF as LF, and the policy's hashes are of what they read.
    return rjsmin.jsmin(source.replace("\r\n", "\n"))


def compact_style(source: str) -> str:
    """Returns a sheet of CSS without its comments and indentation."""
    return rcssmin.cssmin(source.replace("\r\n", "\n"))


@functools.lru_cache(maxsize=16)  # what is weighed before it is written
def packed(content: bytes) -> bytes:
    """Returns bytes as they stand in a page: compressed, five digits of base 85 for every four."""
    # Weights hold next to nothing twice: looking for it makes them larger.
    tried = [_gzip(content, strategy) for strategy in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_HUFFMAN_ONLY)]
    return _base85(min(tried, key=len))


def _base85(content: bytes) -> bytes:
    """Returns what `base64.b85encode` does, which takes a fifth of a second for each megabyte."""
    missing = -len(content) % 4
    words = np.frombuffer(content + bytes(missing), ">u4").astype(np.uint32)
    digits = np.empty((len(words), 5), np.uint8)
    for place in reversed(range(5)):
        words, digits[:, place] = np.divmod(words, 85)
    text = np.frombuffer(DIGITS, np.uint8)[digits].tobytes()
    return text[: len(text) - missing]


def _gzip(content: bytes, strategy: int) -> bytes:
    compressor = zlib.compressobj(9, zlib.DEFLATED, 16 + zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, strategy)
    return compressor.compress(content) + compressor.flush()


def unpacked(text_of_page: bytes) -> bytes:
    """Returns what `packed` was given."""
    return gzip.decompress(base64.b85decode(text_of_page.translate(bytes.maketrans(b".,:", b"<>&"))))


def _data(parts: Sequence[PageSection]) -> list[tuple[str, object]]:
    return [entry for part in parts for entry in part.data.items()]


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _once(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
