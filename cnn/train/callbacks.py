"""What whoever starts a run may pass in: what is shown of it, who hears of it, and who may end it after an epoch."""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

from cnn.runs.records import OnRecord
from cnn.train.progress_bar import ProgressBar


class Callbacks(NamedTuple):
    """What of a run is shown, who hears of it, and who may end it at the end of an epoch."""

    progress_bar: Callable[..., ProgressBar] = ProgressBar
    validated: Callable[[int, dict[str, float]], str | None] = lambda epoch, valid: None
    """Called with the epoch and what its validation measured, by name; returns why training ends here, or `None`."""
    alone: bool = True
    """Whether the run is trained for its own sake, not as a trial of a sweep or to repeat another: it draws its page,
    makes ready in a thread what it needs later, and looks for the layer that made a number which is not finite."""
    turn: contextlib.AbstractContextManager[Any] = contextlib.nullcontext()
    """Held during the steps of an epoch, released after them: of runs that share it, one makes its steps at a time."""
    on_record: OnRecord | None = None
    """Gets every record."""
