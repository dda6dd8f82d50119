"""A small residual network, random crops, flips and erased boxes: the row of the Fashion-MNIST table that says 0.947.

Tried on the validation split, one seed each, in bfloat16, of each picture as it is alone: this 0.9492 with a loss of
0.223; without the first convolution and the dropout, 12 epochs, 0.9483 and 0.238; that with half the channels, 24
epochs, 0.9443 and 0.240; those with boxes on half of the pictures, dropout of 0.2 and a weight decay of 0.1, 20 epochs,
0.9420. The mean of both flips and shifts by a pixel gets 0.9492, 0.9518 and 0.9487 of the first three. Twice as long,
22 epochs, this gets 0.9507 alone and 0.9553 by that mean; three seeds of it take two hours on two cores, and the test
split has not been read with it. Learning rate and schedule are of the half as wide network.

Command: python main.py --config=fashion/residual --config.data.train_on=train+valid
    --config.train.compute_dtype=bfloat16
Results and how learning rate and schedule were chosen: docs/results.md.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0

    config.model = ConfigDict()
    config.model.norm = "batch_norm | relu"
    config.model.c = 'w: conv(w, 3, padding="same", use_bias=False) | norm'
    config.model.layers = """
        c(32) | c(64) | max_pool(2) | c(128) | residual(2 * c(128)) | max_pool(2) | c(256) | residual(2 * c(256)) |
        global_max_pool | dropout(0.2) | dense(classes) | softmax
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
    config.train.epochs = 11
    config.train.average = "ema(0.995)"

    config.eval = ConfigDict()
    config.eval.weights = "ema"
    config.eval.views = "flip | shift(1)"
    return config
