"""The engines by name, and which of them runs a sweep."""

from cnn.sweep import solo
from cnn.sweep.session import Session


def run(session: Session) -> None:
    """Runs the trials with the engine that was asked for."""
    solo.run(session)
