"""The start of a run from trained arrays: all of another network's, or some of its layers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from cnn.config.config import Config, ConfigError
from cnn.layers.base import Arrays
from cnn.optim import freeze, optimizers
from cnn.runs import checkpoint_format, checkpoints, run_dir
from cnn.runs.checksum import fingerprint
from cnn.train import init_from, pytorch_names
from cnn.train.init_from import Donor, Fit, Origin
from cnn.train.state import TrainState, init_opt_state


def begin(values: Config, state: TrainState) -> tuple[TrainState, Origin, str]:
    """Returns a state before its first update with the arrays that `config.init_from` gives, which names something.

    Returns:
      The state, what `run.json` says of its start, and that in a line.

    Raises:
      ConfigError: the source is missing, is damaged or does not fit.
    """
    source = init_from.find(values.init_from)
    fit = init_from.fit(values, source)
    step, weights, arrays = _read(source)
    if source.pytorch:
        arrays = _channels_last(arrays, values)
    params = _replaced(state.params, arrays, fit.loaded)
    average = values.train.average.init(params)
    # Some optimizers keep the parameters that they start from.
    opt_state = init_opt_state(state.hyper, freeze.trained(params, values.frozen))
    opt_state = jax.tree.map(
        lambda new, old: np.asarray(new) if isinstance(old, np.ndarray) else new, opt_state, state.opt_state
    )
    batch_stats = _replaced(state.batch_stats, arrays, fit.loaded)
    about: Origin = {
        "from": str(source.place),
        "step": step,
        "weights": weights,
        "fingerprint": fingerprint(arrays),
        "loaded": list(fit.loaded),
        "initialised": list(fit.initialised),
        "unused": sorted(set(arrays) - set(fit.loaded)),
    }
    started = state._replace(params=params, batch_stats=batch_stats, opt_state=opt_state, average=average)
    return started, about, _said(about, source, fit, values.data.classes)


def _said(about: Origin, source: Donor, fit: Fit, classes: int) -> str:
    step = "" if about["step"] is None else f" (step {about['step']:,}, {about['weights']} weights)"
    count, fresh = len(about["loaded"]), about["initialised"]
    rest = f"; initialised: {', '.join(_layers(fresh))}" if fresh else ""
    if fit.classes is not None:
        rest += f", for {classes:,} classes instead of {fit.classes:,}"
    unused = f"; not used of it: {', '.join(_layers(about['unused']))}" if about["unused"] else ""
    layout = " (PyTorch's names and layout)" if source.pytorch else ""
    return f"starts from {about['from']}{step}{layout}: {count} of {count + len(fresh)} arrays{rest}{unused}"


def _read(source: Donor) -> tuple[int | None, str | None, Arrays]:
    """Returns the step, the weights and the arrays by their paths, every bit as it was saved; of a file the last."""
    if source.values is None:
        arrays: Arrays = load_file(source.place)
        if source.pytorch:
            arrays = {path: pytorch_names.array_here(arrays[name]) for path, name in source.pytorch.items()}
        return None, None, arrays
    weights = source.values.eval.weights if source.step is None else "last"
    step, of_run = _of_run(source, weights)
    return step, weights, of_run


def _of_run(source: Donor, weights: str) -> tuple[int, Arrays]:
    """Returns the step and the arrays of a run; read by their names, so that none of its code is needed."""
    place = source.place / run_dir.CHECKPOINTS
    try:
        if source.step is None:
            restored = checkpoints.read(place, None, best=weights == "best")
        else:
            restored = checkpoints.load(place, source.step, None)
    except (checkpoint_format.Damaged, checkpoint_format.Foreign, checkpoint_format.NoValidCheckpoint) as error:
        raise ConfigError([f"config.init_from: {error}. Use another step or run."]) from None
    assert restored is not None, source.place  # `find` saw one
    folders = ("average" if weights == "ema" else "params", "batch_stats")
    named = [(*name.partition("/"), array) for name, array in restored.state.items()]
    arrays = {path: array for folder, _, path, array in named if folder in folders}
    marks = restored.state.get("renewed/step"), restored.state.get("renewed/averaged")
    if marks == (restored.step, weights == "ema"):
        of_renewed = (name.partition("renewed/batch_stats/") for name in restored.state)
        arrays |= {path: restored.state[f"{renewed}{path}"] for _, renewed, path in of_renewed if renewed}
    return restored.step, arrays if weights == "ema" else {**arrays, **optimizers.eval_arrays(restored.state)}


def _channels_last(arrays: Arrays, values: Config) -> Arrays:
    """Returns arrays of PyTorch's layout of which those that read a flattened map do so as this network flattens it."""
    moved = {
        path: pytorch_names.channels_last(arrays[path], shape)
        for path, shape in pytorch_names.flat_maps(values.rows)
        if path in arrays and len(arrays[path]) == math.prod(shape)
    }
    return {**arrays, **moved}


def _replaced(tree: Any, arrays: Mapping[str, Any], paths: Sequence[str]) -> Any:
    chosen = set(paths)

    def one(path: Any, array: Any) -> Any:
        name = checkpoint_format.array_name(path)
        if name not in chosen:
            return array
        # A copy: the arrays of a file that is read may share its memory. NumPy's where several devices share the run.
        given = np.array(arrays[name])
        return given if isinstance(array, np.ndarray) else jnp.array(given)

    return jax.tree_util.tree_map_with_path(one, tree)


def _layers(paths: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(path.rpartition("/")[0] for path in paths))
