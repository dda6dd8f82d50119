"""Two convolutions, two dense layers, flips: the row of the Fashion-MNIST table that says 0.939.

No better, or hardly, one seed each: label smoothing of 0.1, boxes erased, the average of the parameters, a cosine of 24
epochs and both flips of each picture, 0.9382 on the validation split; 20 such epochs on both splits, 0.9356 of the test
split. Twice the filters, 20 such epochs without boxes, 0.9390 on the validation split; kernels of 5x5 with batch
normalisation, crops and boxes, 16 epochs, 0.9292.

Results and how learning rate and schedule were chosen: docs/results.md.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0

    config.model = ConfigDict()
    config.model.layers = """
        conv(64, 3, padding="same") | relu | max_pool(2) |
        conv(128, 3, padding="same") | relu | max_pool(2) |
        dropout(0.3) | flatten | dense(256) | relu | dropout(0.5) | dense(classes) | softmax
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
    config.train.epochs = 16
    return config
