"""A small residual network, random crops, flips and erased boxes: the row of the Fashion-MNIST table that says 0.947.

Tried on the validation split, one seed, in bfloat16: 24 epochs 0.9485, of each picture as it is alone 0.9443; boxes on
half of the pictures, dropout of 0.2 before the last layer and a weight decay of 0.1, 20 epochs, 0.9427. After 15 of 24
epochs little is gained, so here are 18.

Command: python main.py --config=fashion/residual --config.data.train_on=train+valid
    --config.train.compute_dtype=bfloat16
Results and how learning rate and schedule were chosen: docs/results.md.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0

    config.model = ConfigDict()
    config.model.layers = """
        conv(32, 3, padding="same", use_bias=False) | batch_norm | relu | max_pool(2) |
        conv(64, 3, padding="same", use_bias=False) | batch_norm | relu |
        residual(2 * (conv(64, 3, padding="same", use_bias=False) | batch_norm | relu)) | max_pool(2) |
        conv(128, 3, padding="same", use_bias=False) | batch_norm | relu |
        residual(2 * (conv(128, 3, padding="same", use_bias=False) | batch_norm | relu)) |
        global_max_pool | dense(classes) | softmax
    """

    config.data = ConfigDict()
    config.data.name = "fashion_mnist"
    config.data.image_shape = (28, 28, 1)
    config.data.classes = 10
    config.data.mean = (0.286,)
    config.data.std = (0.353,)
    config.data.augment = "random_crop(2) | flip | erase"

    config.optimizer = ConfigDict()
    config.optimizer.name = "muon"
    config.optimizer.learning_rate = 1e-2

    config.schedule = ConfigDict()
    config.schedule.name = "cosine"
    config.schedule.warmup_steps = 200

    config.train = ConfigDict()
    config.train.batch_size = 128
    config.train.label_smoothing = 0.1
    config.train.epochs = 18
    config.train.average = "ema(0.995)"

    config.eval = ConfigDict()
    config.eval.weights = "ema"
    config.eval.views = "flip"
    return config
