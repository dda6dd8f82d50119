"""The lesson's network on real handwritten digits: the default, needs no network.

1,797 digits of 8x8 pixels that scikit-learn carries, resized to 28x28.

Command: python main.py --config.seed=S
Gave: test accuracy 0.9889 0.9833 0.9861 for seeds 0 1 2 (359 pictures), 7 s of training steps.
Two CPU cores, float32, jax 0.10.2.
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
    config.data.name = "digits"
    config.data.image_shape = (28, 28, 1)
    config.data.classes = 10
    config.data.resize = "bilinear"
    config.data.augment = "shift(2)"

    config.optimizer = ConfigDict()
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1e-3

    config.schedule = ConfigDict()
    config.schedule.name = "cosine"

    config.train = ConfigDict()
    config.train.batch_size = 32
    config.train.epochs = 20
    config.train.log_every_steps = 20
    return config
