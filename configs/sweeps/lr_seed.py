"""Eight learning rates, each with four seeds.

Command: python main.py sweep --sweep=configs/sweeps/lr_seed.py
"""


def get_sweep() -> dict:
    return {
        "space": {
            "optimizer.learning_rate": {"log": [1e-4, 1e-2], "n": 8},
            "seed": [0, 1, 2, 3],
        },
    }
