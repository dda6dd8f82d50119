"""Two convolutions, about 113,000 parameters: the row of the Fashion-MNIST table that says 0.922.

Results and how learning rate and schedule were chosen: docs/results.md.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0

    config.model = ConfigDict()
    config.model.layers = """
        conv(32, 3, padding="same") | relu | max_pool(2) |
        conv(64, 3, padding="same") | relu | max_pool(2) |
        dropout(0.25) | flatten | dense(30) | relu | dense(classes) | softmax
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
    config.optimizer.learning_rate = 5e-3

    config.schedule = ConfigDict()
    config.schedule.name = "linear"
    config.schedule.warmup_steps = 200

    config.train = ConfigDict()
    config.train.batch_size = 128
    config.train.epochs = 10
    return config
