"""What a section of a page is made of, before the page around it is."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from markupsafe import Markup

Figure = bytes | Callable[[], bytes]
"""A file's content, or what draws it: not called where the same drawing in another format is there as it was."""


@dataclasses.dataclass(frozen=True)
class Part:
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
