"""Which engine runs a sweep: the one asked for; otherwise `vmap` on accelerators, and `map` on a CPU."""

import jax

from cnn.config.config import ConfigError
from cnn.runs import run_dir
from cnn.sweep import lanes, ranking, solo, stacked
from cnn.sweep.options import Options
from cnn.sweep.plan import RECORD
from cnn.sweep.session import Session
from cnn.train import multi_step


def run(session: Session) -> None:
    """Runs the trials that are left.

    Raises:
      ConfigError: what was asked for is not for this machine, or these data.
      DataError: the data are missing or unlike the config.
    """
    over = session.ask(lambda: ranking.ended(session.queue.board))
    if len(over) == session.plan.size:
        session.about |= (run_dir.read_json(session.queue.folder / RECORD) or {}).get("engine", {})
        return
    streams = session.datasets.of(session.plan.example.values).streams
    engine = choose(session.plan.options, jax.default_backend(), streams=streams)
    session.about |= {"engine": engine, "device": jax.devices()[0].device_kind}
    if engine == "vmap":
        lanes.run(session)
    else:
        solo.run(session)
    session.about["compilations"] = compilations()


def choose(options: Options, platform: str, *, streams: bool) -> str:
    """Returns the engine: the one asked for, or that of the platform; data that are not in memory leave only `map`.

    Raises:
      ConfigError: `vmap` was asked for, and the data stream; or several workers, and there is an accelerator.
    """
    asked = options.engine
    if options.workers > 1 and platform != "cpu":
        got = f"--sweep.workers: is for CPUs, got {options.workers} on {platform}, whose memory the first one takes"
        raise ConfigError([f"{got}. Leave it out: vmap trains trials together"])
    if asked == "vmap" and streams:
        raise ConfigError(["--sweep.engine: vmap needs data in memory, got data that stream. Use map"])
    if asked != "auto":
        return asked
    return "map" if platform == "cpu" or streams else "vmap"


def compilations() -> dict[str, int]:
    """Returns how many training programs this process has compiled, by engine."""
    return {
        "map": sum(run._cache_size() for run in (multi_step.run_step, multi_step.run_loop, multi_step.run_scan)),  # type: ignore[attr-defined]
        "vmap": stacked.run_step._cache_size() + stacked.run_scan._cache_size(),  # type: ignore[attr-defined]
    }
