"""LeNet-5 in its modern form on MNIST padded to 32x32: 61,706 parameters.

Maximum pooling; average, as in 1998, with --config.model.pool="avg_pool(2)".

Results and how learning rate and schedule were chosen: docs/results.md.

Source:
  LeCun et al. 1998, http://yann.lecun.com/exdb/publis/pdf/lecun-01a.pdf.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0

    config.model = ConfigDict()
    config.model.pool = "max_pool(2)"
    config.model.layers = """
        conv(6, 5) | tanh | pool |
        conv(16, 5) | tanh | pool |
        flatten | dense(120) | tanh | dense(84) | tanh | dense(classes) | softmax
    """

    config.data = ConfigDict()
    config.data.name = "mnist"
    config.data.image_shape = (32, 32, 1)
    config.data.classes = 10
    config.data.resize = "pad"

    config.optimizer = ConfigDict()
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 2e-3

    config.schedule = ConfigDict()
    config.schedule.name = "cosine"

    config.train = ConfigDict()
    config.train.batch_size = 64
    config.train.epochs = 10
    return config
