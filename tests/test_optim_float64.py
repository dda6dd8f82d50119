"""Twenty steps of the optimizers in float64 against NumPy, written out, and against PyTorch where it is installed."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import cnn.hyperparams  # noqa: F401 - makes the records trees of arrays
from cnn.optim import clips, optimizers, schedules

STEPS, TOLERANCE = 20, 1e-9
RATE, DECAY, EPS = 0.01, 0.1, 1e-3
"""A large epsilon, so that where it stands is seen."""
ALL_DECAY = {"weight_decay": DECAY, "decayed": "all"}
RECORDS = {
    "sgd": optimizers.Sgd(RATE, **ALL_DECAY),
    "momentum": optimizers.Momentum(RATE, momentum=0.8, **ALL_DECAY),
    "nesterov": optimizers.Nesterov(RATE, momentum=0.8, **ALL_DECAY),
    "rmsprop": optimizers.Rmsprop(RATE, decay=0.95, eps=EPS, **ALL_DECAY),
    "rmsprop_outside": optimizers.Rmsprop(RATE, decay=0.95, eps=EPS, eps_place="outside", **ALL_DECAY),
    "adam": optimizers.Adam(RATE, eps=EPS),
    "adamw": optimizers.AdamW(RATE, eps=EPS, **ALL_DECAY),
    "nadam": optimizers.Nadam(RATE, eps=EPS),
}


def start():
    """Returns parameters and the gradients of all steps, some of them tiny."""
    rng = np.random.default_rng(0)
    params = {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}
    sizes = {"kernel": np.array([1e-4, 1.0]), "bias": np.array([1e-2, 10.0])}
    return params, [{name: rng.normal(size=p.shape) * sizes[name] for name, p in params.items()} for _ in range(STEPS)]


def found(optimizer):
    """Returns the parameters after each step, in float64 throughout."""
    numbers, gradients = start()
    path = []
    with jax.enable_x64(True):
        lengths = {"total_steps": STEPS, "steps_per_epoch": 5}
        tx, _ = optimizers.make_tx(optimizer, schedules.Constant(), clips.NoClip(), **lengths)
        params = jax.tree.map(jnp.asarray, numbers)
        state = tx.init(params)
        for grads in gradients:
            updates, state = tx.update(jax.tree.map(jnp.asarray, grads), state, params)
            params = optax.apply_updates(params, updates)
            path.append(jax.tree.map(np.asarray, params))
    assert all(array.dtype == np.float64 for array in jax.tree.leaves(path))
    return path


def moments(record, t, grad, kept):
    kept["mean"] = record.b1 * kept.get("mean", 0) + (1 - record.b1) * grad
    kept["square"] = record.b2 * kept.get("square", 0) + (1 - record.b2) * grad**2
    return kept["mean"], np.sqrt(kept["square"] / (1 - record.b2**t)) + record.eps


def adam(record, t, _, grad, kept):
    mean, root = moments(record, t, grad, kept)
    return mean / (1 - record.b1**t) / root


def adamw(record, t, param, grad, kept):
    return adam(record, t, param, grad, kept) + record.weight_decay * param


def nadam(record, t, _, grad, kept):
    mean, root = moments(record, t, grad, kept)
    now, following = (record.b1 * (1 - 0.5 * 0.96 ** (at * record.momentum_decay)) for at in (t, t + 1))
    kept["product"] = kept.get("product", 1) * now
    ahead = following * mean / (1 - kept["product"] * following) + (1 - now) * grad / (1 - kept["product"])
    return ahead / root


def sgd(record, _, param, grad, __):
    return grad + record.weight_decay * param


def momentum(record, t, param, grad, kept):
    kept["sum"] = record.momentum * kept.get("sum", 0) + sgd(record, t, param, grad, kept)
    return kept["sum"]


def nesterov(record, t, param, grad, kept):
    return record.momentum * momentum(record, t, param, grad, kept) + sgd(record, t, param, grad, kept)


def rmsprop(record, t, param, grad, kept):
    grad = sgd(record, t, param, grad, kept)
    kept["square"] = record.decay * kept.get("square", 0) + (1 - record.decay) * grad**2
    return grad / np.sqrt(kept["square"] + record.eps)


def rmsprop_outside(record, t, param, grad, kept):
    grad = sgd(record, t, param, grad, kept)
    kept["square"] = record.decay * kept.get("square", 0) + (1 - record.decay) * grad**2
    return grad / (np.sqrt(kept["square"]) + record.eps)


WRITTEN_OUT = {rule.__name__: rule for rule in (sgd, momentum, nesterov, rmsprop, rmsprop_outside, adam, adamw, nadam)}


def written_out(name, record):
    """Returns the parameters after each step by NumPy."""
    params, gradients = start()
    kept = {array: {} for array in params}
    path = []
    for t, grads in enumerate(gradients, 1):
        params = {
            array: param - record.learning_rate * WRITTEN_OUT[name](record, t, param, grads[array], kept[array])
            for array, param in params.items()
        }
        path.append(params)
    return path


def of_torch(name, record):
    """Returns the parameters after each step by PyTorch."""
    torch = pytest.importorskip("torch")
    betas = {"betas": (0.9, 0.999), "eps": EPS}
    make = {
        "sgd": lambda params: torch.optim.SGD(params, RATE, weight_decay=DECAY),
        "momentum": lambda params: torch.optim.SGD(params, RATE, momentum=0.8, weight_decay=DECAY),
        "nesterov": lambda params: torch.optim.SGD(params, RATE, momentum=0.8, weight_decay=DECAY, nesterov=True),
        "rmsprop_outside": lambda params: torch.optim.RMSprop(params, RATE, alpha=0.95, eps=EPS, weight_decay=DECAY),
        "adam": lambda params: torch.optim.Adam(params, RATE, **betas),
        "adamw": lambda params: torch.optim.AdamW(params, RATE, weight_decay=DECAY, **betas),
        "nadam": lambda params: torch.optim.NAdam(params, RATE, momentum_decay=record.momentum_decay, **betas),
    }[name]
    numbers, gradients = start()
    params = {array: torch.tensor(number, dtype=torch.float64, requires_grad=True) for array, number in numbers.items()}
    optimizer = make(list(params.values()))
    path = []
    for grads in gradients:
        for array, param in params.items():
            param.grad = torch.tensor(grads[array], dtype=torch.float64)
        optimizer.step()
        path.append({array: param.detach().numpy().copy() for array, param in params.items()})
    return path


def close(path, expected):
    for ours, theirs in zip(path, expected, strict=True):
        for name in ours:
            np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=TOLERANCE)


@pytest.mark.few(3)
@pytest.mark.parametrize("name", RECORDS)
def test_twenty_steps_are_those_that_numpy_writes_out(name):
    close(found(RECORDS[name]), written_out(name, RECORDS[name]))


@pytest.mark.parametrize("name", [name for name in RECORDS if name != "rmsprop"])
def test_twenty_steps_are_those_of_pytorch(name):
    close(found(RECORDS[name]), of_torch(name, RECORDS[name]))


@pytest.mark.parametrize("options", [{"momentum_decay": 0.0}, {"momentum_decay": 3.0}, {"b1": 0.0}, {"b2": 0.0}])
def test_nadams_momentum_follows_its_schedule_at_any_pace(options):
    record = optimizers.Nadam(RATE, eps=EPS, **options)
    close(found(record), written_out("nadam", record))
