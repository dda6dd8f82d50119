"""The head of a run's page: what it is, how good it is, and how it ended, in a sentence."""

from markupsafe import Markup

from cnn.report import text
from cnn.report.files import Run


def build(run: Run) -> Markup:
    """Returns what stands above the sections."""
    return text.render("head.html.j2", run=run)
