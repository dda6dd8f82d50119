"""A small residual network with batch normalisation on CIFAR-10: 50,000 colour photographs, 32x32.

Command: python main.py --config=configs/cifar10.py --config.data.train_on=train+valid
    --config.train.compute_dtype=bfloat16
Results: docs/results.md. Neither the learning rate nor the schedule was chosen by a sweep.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0

    config.model = ConfigDict()
    config.model.width = 32
    config.model.layers = """
        conv(width, 3, padding="same", use_bias=False) | batch_norm | relu |
        residual(
            conv(width, 3, padding="same", use_bias=False) | batch_norm | relu |
            conv(width, 3, padding="same", use_bias=False) | batch_norm) | relu |
        residual(
            conv(2 * width, 3, strides=2, padding="same", use_bias=False) | batch_norm | relu |
            conv(2 * width, 3, padding="same", use_bias=False) | batch_norm,
            shortcut=conv(2 * width, 1, strides=2, use_bias=False) | batch_norm) | relu |
        residual(
            conv(4 * width, 3, strides=2, padding="same", use_bias=False) | batch_norm | relu |
            conv(4 * width, 3, padding="same", use_bias=False) | batch_norm,
            shortcut=conv(4 * width, 1, strides=2, use_bias=False) | batch_norm) | relu |
        global_avg_pool | dense(classes) | softmax
    """

    config.data = ConfigDict()
    config.data.name = "cifar10"
    config.data.image_shape = (32, 32, 3)
    config.data.classes = 10
    config.data.mean = (0.4914, 0.4822, 0.4465)
    config.data.std = (0.2470, 0.2435, 0.2616)
    config.data.augment = "random_crop(4) | flip"

    config.optimizer = ConfigDict()
    config.optimizer.name = "nesterov"
    config.optimizer.learning_rate = 0.1
    config.optimizer.weight_decay = 5e-4

    config.schedule = ConfigDict()
    config.schedule.name = "cosine"
    config.schedule.warmup_steps = 400

    config.train = ConfigDict()
    config.train.batch_size = 128
    config.train.epochs = 30
    return config
