"""`train`: one run from its config to its result; again, it continues or reports."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnn.cli import parser, printing
from cnn.config.config import Config
from cnn.runs import numerics, recorded_code, run_dir
from cnn.runs.records import OnRecord
from cnn.system import environment, multihost
from cnn.system.exit_codes import DIFFERS, DIVERGED, DONE
from cnn.system.text import plain
from cnn.train import init_from, memory_estimate

REMEDIES = {
    "start": "Mend config.model.init, or what config.init_from names",
    "input": "Mend config.data.augment",
    "rate": "Mend config.schedule",
}
"""Of a training that was not finite, by what it was; see `cnn.train.blame`."""
REMEDY = "Lower config.optimizer.learning_rate or set config.train.clip"


def run(config: Config, workdir: Path, flags: Mapping[str, str]) -> int:
    """Trains, evaluates and prints the result; with a flag of `parser.ALONE` does that instead."""
    if "profile" in flags:
        return _profile(config, workdir, flags)
    if "smoke" in flags:
        return _smoke(config, flags)
    if "overfit" in flags:
        return _overfit(config, flags)
    members, on_record = parser.members(flags), parser.tracker(flags)
    if members is None:
        _announce(config, workdir)
    with multihost.join(members):
        if members is not None:
            multihost.from_leader(lambda: _announce(config, workdir))
        return _train(config, workdir, flags, on_record)


def _profile(config: Config, workdir: Path, flags: Mapping[str, str]) -> int:
    from cnn.train import profile  # JAX takes a second to import

    steps = int(flags["profile"])
    printing.profile(profile.profile(config, workdir / run_dir.PROFILE, steps, parser.devices(flags)))
    return 0


def _smoke(config: Config, flags: Mapping[str, str]) -> int:
    environment.compile_quickly()
    from cnn.api import smoke  # JAX takes a second to import
    from cnn.system.preemption import Preemption

    with Preemption() as interruption:
        passed = smoke.stages(config, parser.devices(flags), interruption, lambda line: print(line, flush=True))
    print(f"all {len(passed)} stages pass in {sum(stage.seconds for stage in passed):.1f} s; nothing is kept")
    return 0


def _overfit(config: Config, flags: Mapping[str, str]) -> int:
    from cnn.train import overfit  # JAX takes a second to import

    found = overfit.overfit(config, int(flags["overfit"]))
    for line in overfit.told(found):
        print(plain(line))
    return DIFFERS if found.findings or not found.fits else DONE


def _announce(config: Config, workdir: Path) -> None:
    recorded_code.check_same(config, workdir)
    if not (workdir / run_dir.RESULT).exists():
        numerics.check(config, workdir)
        init_from.check(config, workdir)
        printing.summary(config.rows, config.data.image_shape)
        if line := memory_estimate.split(config):
            print(line)
        sys.stdout.flush()


def _train(config: Config, workdir: Path, flags: Mapping[str, str], on_record: OnRecord | None) -> int:
    from cnn.train import experiment  # JAX takes a second to import

    finished = experiment.run_on(config, workdir, parser.devices(flags), on_record=on_record)
    return (
        _print(finished.result, workdir, config, fresh=finished.fresh) if multihost.leads() else _code(finished.result)
    )


def _code(result: Mapping[str, Any]) -> int:
    return DIVERGED if result["status"] == "diverged" else DONE


def _print(result: Mapping[str, Any], workdir: Path, config: Config, *, fresh: bool) -> int:
    place = plain(str(workdir))
    if not fresh:
        print(f"{place} is finished. Its result:")
    if result["status"] == "diverged":
        print(
            f"diverged: the loss, a gradient or the update of step {result['bad_step']} is not finite; "
            f"the state before it is saved in {place}. "
            f"{_remedy(result)}, and choose another --workdir"
        )
        if "cause" in result:
            print(f"step {result['bad_step']}: {result['cause']['said']}")
        return _code(result)
    if result["stopped"]:
        print(f"stopped after {_epochs(result)}: {result['stopped']}")
    split = "test" if config.eval.test else "valid"
    record: Any = run_dir.read_json(workdir / run_dir.evaluation(split))
    if record is None:
        print(f"its evaluation is missing; write it again: python main.py eval --workdir={place} --split={split}")
    else:
        printing.evaluation(record)
    seconds, saving = result["train_seconds"], result["save_seconds"]
    # What a group of trials compiled together may be more than the share of one.
    compiling = result["compile_seconds"]
    parts = [f"{compiling:.1f} s of them compiling"] if 0 < compiling < seconds else []
    if result["wait_seconds"]:
        parts.append(f"{100 * result['wait_seconds'] / max(1e-9, seconds):.1f} % waiting for pictures")
    if watching := result.get("watch_seconds"):
        parts.append(f"and {watching:.1f} s more watching")
    print(
        f"{result['step']:,} steps, {_epochs(result)} in {', '.join([f'{seconds:.1f} s', *parts])}, and {saving:.1f} s "
        f"of saving ({100 * saving / max(1e-9, seconds + saving):.1f} %); everything is in {place}"
    )
    return _code(result)


def _remedy(result: Mapping[str, Any]) -> str:
    """Returns what to change of a run that diverged; at the first step nothing was updated that could be to blame."""
    cause = result.get("cause", {})
    if result["bad_step"] == 0 and cause.get("what") in ("output", "loss", "gradient"):
        layer = cause["layer"]
        return f"Mend {f'{layer} of config.model.layers' if layer else 'config.train.loss'}, as nothing was updated yet"
    return REMEDIES.get(cause.get("what"), REMEDY)


def _epochs(result: Mapping[str, Any]) -> str:
    return f"{result['epochs']:g} epoch{'' if result['epochs'] == 1 else 's'}"
