"""The lesson's network on MNIST: 60,000 handwritten digits, 28x28.

Command: python main.py --config=configs/mnist.py
Not measured yet.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0

    config.model = ConfigDict()
    config.model.width = 64
    config.model.layers = """
        conv(width, 3) | relu | max_pool(2) |
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

    config.schedule = ConfigDict()
    config.schedule.name = "linear"

    config.train = ConfigDict()
    config.train.batch_size = 32
    config.train.epochs = 5
    return config
