"""A search over ranges: 16 configurations where good ones were seen, three seeds each; the worst end early.

Command: python main.py sweep --sweep=configs/sweeps/search.py
"""


def get_sweep() -> dict:
    return {
        "space": {
            "optimizer.learning_rate": {"log": [1e-4, 1e-2]},
            "train.label_smoothing": {"linear": [0.0, 0.2]},
            "seed": [0, 1, 2],
        },
        "sampler": "tpe(seed=0)",
        "trials": 16,
        "pruner": "halving(min_epochs=2, reduction=3)",
    }
