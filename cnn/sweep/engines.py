"""The engines by name, and which of them runs a sweep."""

from cnn.sweep import lanes, processes, solo
from cnn.sweep.session import Session


def run(session: Session) -> None:
    """Runs the trials with the engine that was asked for."""
    options = session.plan.options
    if options.engine == "vmap":
        lanes.run(session, options.lanes or 8)
    elif options.engine == "process":
        processes.run(session, processes.jobs(options.jobs))
    else:
        solo.run(session)
