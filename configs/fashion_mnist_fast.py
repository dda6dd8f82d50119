"""Fashion-MNIST to the course's 0.9089 in the least time: the lesson's network with half the filters first, and Muon.

Chosen on the validation split, seed 0, among Adam and Muon, batches of 128 and 256, first layers of 16 to 64 filters:
Muon 2e-2 for 2 epochs 0.9150, 1e-2 0.9117; Adam 4e-3 for 3 epochs 0.9125; Muon with 24 filters 0.9065.

Command: python benchmarks/time_to_accuracy.py
Gave: test accuracy 0.9106 (0.9088 to 0.9128), deviation 0.0012, 10 seeds; 15.3 s of training, 2.9 s of compilation.
Two CPU cores, float32, jax 0.10.2.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0

    config.model = ConfigDict()
    config.model.width = 64
    config.model.layers = """
        conv(width // 2, 3) | relu | max_pool(2) |
        conv(width, 3) | relu | max_pool(2) |
        flatten | dense(128) | relu | dense(classes) | softmax
    """

    config.data = ConfigDict()
    config.data.name = "fashion_mnist"
    config.data.image_shape = (28, 28, 1)
    config.data.classes = 10
    config.data.mean = (0.286,)
    config.data.std = (0.353,)

    config.optimizer = ConfigDict()
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 2e-2

    config.schedule = ConfigDict()
    config.schedule.name = "linear"
    config.schedule.warmup_steps = 50

    config.train = ConfigDict()
    config.train.batch_size = 128
    config.train.epochs = 2
    return config
