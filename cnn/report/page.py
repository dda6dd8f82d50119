"""One HTML file out of parts: no request, no handler, and a policy by which the browser enforces both.

A section is a function `build(run) -> Part | None` in a module of its own, listed in `cnn.report.SECTIONS`; see
`cnn.report.part` for what it returns.
"""

import base64
import gzip
import hashlib
import re
from collections.abc import Iterable, Sequence

from markupsafe import Markup

from cnn.report import text
from cnn.report.part import Part

POLICY = (
    "default-src 'none'; script-src {scripts}; style-src {styles}; img-src data:; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
SURROGATES = re.compile("[\ud800-\udfff]")


def assemble(title: str, head: Markup, parts: Sequence[Part], *, kind: str) -> bytes:
    """Returns the page as the bytes of a file; equal arguments give equal bytes.

    Args:
      title: plain text.
      head: what stands above the sections.
      parts: the sections, in order.
      kind: what the page is about, `run` or `sweep`; `<html data-kind>`.
    """
    # Parsers read CR LF as LF, and hashes are of what they read.
    style = "\n".join(_once([text.source("page.css"), *(sheet for part in parts for sheet in part.styles)]))
    style = style.replace("\r\n", "\n")
    scripts = _once([text.source("page.js"), *(script for part in parts for script in part.scripts)])
    scripts = [script.replace("\r\n", "\n") for script in scripts]
    for script in [style, *scripts]:
        if re.search(r"</(?:script|style)|<!--|<script", script, re.IGNORECASE):
            raise ValueError("a script or a style holds what would end its element or begin another.")
    ids = [*(part.id for part in parts), *(name for part in parts for name in part.data)]
    if len(set(ids)) < len(ids):
        raise ValueError(f"parts: ids must be unique in the page, got {ids}. Name them after their part.")
    html = text.render(
        "page.html.j2",
        kind=kind,
        policy=POLICY.format(scripts=" ".join(map(_hash, scripts)), styles=_hash(style)),
        title=text.visible(title),
        head=head,
        parts=parts,
        style=Markup(style),
        scripts=[Markup(script) for script in scripts],
        islands=[(name, text.island(value)) for name, value in _data(parts) if not isinstance(value, bytes)],
        blobs=[(name, _blob(value)) for name, value in _data(parts) if isinstance(value, bytes)],
    )
    return SURROGATES.sub("\ufffd", html).encode()


def _data(parts: Sequence[Part]) -> list[tuple[str, object]]:
    return [entry for part in parts for entry in part.data.items()]


def _blob(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _once(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
