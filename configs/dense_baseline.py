"""The exercise before the lesson: no convolution, 784-128-10, on Fashion-MNIST."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0

    config.model = ConfigDict()
    config.model.layers = "flatten | dense(128) | relu | dense(classes) | softmax"

    config.data = ConfigDict()
    config.data.name = "fashion_mnist"
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
