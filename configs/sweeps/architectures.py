"""Architectures as choices, and an optimizer's own option where that optimizer is chosen.

Command: python main.py sweep --sweep=configs/sweeps/architectures.py
"""


def get_sweep() -> dict:
    return {
        "space": {
            "model.layers": [
                "flatten | dense(128) | relu | dense(classes) | softmax",
                "conv(16, 3) | relu | max_pool(2) | flatten | dense(classes) | softmax",
                "conv(16, 3) | relu | max_pool(2) | conv(32, 3) | relu | global_avg_pool | dense(classes) | softmax",
            ],
            "optimizer.name": ["adam", "momentum"],
            "optimizer.momentum": {"values": [0.9, 0.95], "when": {"optimizer.name": ["momentum"]}},
            "zip": {"train.batch_size": [32, 64], "optimizer.learning_rate": [1e-3, 2e-3]},
            "seed": [0, 1],
        },
    }
