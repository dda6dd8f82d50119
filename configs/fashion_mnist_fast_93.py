"""Fashion-MNIST to 0.93 in the least time: three convolutions, flips, a little dropout, and Muon.

Chosen on the validation split, seeds 0 and 1: label smoothing 0.1 for 8 epochs 0.9368 and 0.9343, for 9 epochs 0.9383
and 0.9330, for 7 epochs 0.9335 and 0.9302; without smoothing for 9 epochs 0.9358 and 0.9305, for 11 epochs 0.9320 and
0.9315. Before, without smoothing, seed 0: Muon 2e-2 for 6 epochs with dropout 0.25 once 0.9280, for 10 epochs with
weight decay 0.01 0.9320; Adam 2.5e-3 for 10 epochs 0.9315, for 14 epochs with dropout 0.3 twice 0.9318; the lesson's
two convolutions of 64 and 128 filters, Adam, 8 epochs 0.9215.

Command: python benchmarks/time_to_accuracy.py --config=configs/fashion_mnist_fast_93.py --target=0.93 --keras=0
Gave: test accuracy 0.9315 (0.9295 to 0.9337), deviation 0.0013, 10 seeds, of which 9 reach 0.93; 111 s of training,
4.5 s of compilation.
Two CPU cores, float32, jax 0.10.2.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0

    config.model = ConfigDict()
    config.model.width = 64
    config.model.layers = """
        conv(width // 2, 3, padding="same") | relu | max_pool(2) |
        conv(width, 3, padding="same") | relu | max_pool(2) |
        conv(2 * width, 3, padding="same") | relu | max_pool(2) |
        dropout(0.2) | flatten | dense(128) | relu | dropout(0.2) | dense(classes) | softmax
    """

    config.data = ConfigDict()
    config.data.name = "fashion_mnist"
    config.data.image_shape = (28, 28, 1)
    config.data.classes = 10
    config.data.mean = (0.286,)
    config.data.std = (0.353,)
    config.data.augment = "flip"

    config.optimizer = ConfigDict()
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 1e-2

    config.schedule = ConfigDict()
    config.schedule.name = "linear"
    config.schedule.warmup_steps = 200

    config.train = ConfigDict()
    config.train.batch_size = 128
    config.train.epochs = 8
    config.train.label_smoothing = 0.1
    return config
