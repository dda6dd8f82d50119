"""One filter that finds lines of one direction by itself: nobody tells it what a line is.

Pictures with and without vertical lines, and lines across them in both, drawn anew on every machine. The convolution
learns an oriented edge filter: compare `python main.py filters --filter=vertical`. Another direction:
--config.data.name=lines/horizontal, lines/diagonal or lines/antidiagonal.

Command: python main.py --config=configs/one_filter.py --config.seed=S
GAVE
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0

    config.model = ConfigDict()
    config.model.layers = "conv(1, 3) | relu | global_max_pool | dense(classes) | softmax"

    config.data = ConfigDict()
    config.data.name = "lines/vertical"
    config.data.image_shape = (16, 16, 1)
    config.data.classes = 2
    config.data.mean = (0.5,)
    config.data.std = (0.25,)

    config.optimizer = ConfigDict()
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 0.05

    config.schedule = ConfigDict()
    config.schedule.name = "cosine"

    config.train = ConfigDict()
    config.train.batch_size = 50
    config.train.epochs = 20
    return config
