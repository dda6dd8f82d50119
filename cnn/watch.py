"""Who looks on while a run trains."""

from collections.abc import Callable
from typing import NamedTuple

from cnn.reporter import Reporter


class Watch(NamedTuple):
    """What of a run is shown, and who may end it at the end of an epoch."""

    reporter: Callable[..., Reporter] = Reporter
    judge: Callable[[int, dict[str, float]], str | None] = lambda epoch, valid: None
    """Called with the epoch and its validation loss and accuracy; returns why training ends here, or `None`."""
    pages: bool = True
    """Whether the run draws its page; trials draw theirs when they are asked for."""
