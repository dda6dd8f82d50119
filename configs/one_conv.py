"""The course's exercise: one convolution, one pooling, and stop as soon as MNIST training accuracy passes 99.8 %.

Command: python main.py --config=configs/one_conv.py --config.data.train_on=train+valid --config.seed=S
Results: docs/results.md.
Two CPU cores, float32, jax 0.10.2.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0

    config.model = ConfigDict()
    config.model.width = 32
    config.model.layers = """
        conv(width, 3) | relu | max_pool(2) |
        flatten | dense(128) | relu | dense(classes) | softmax
    """

    config.data = ConfigDict()
    config.data.name = "mnist"
    config.data.image_shape = (28, 28, 1)
    config.data.classes = 10

    config.optimizer = ConfigDict()
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3

    config.train = ConfigDict()
    config.train.batch_size = 32
    config.train.epochs = 20
    config.train.stop = "target(0.998)"
    return config
