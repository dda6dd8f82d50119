"""DenseNet-BC of 40 layers that add 12 channels each, for Fashion-MNIST: Huang et al. 2017, section 4.2 and table 2.

It has 175,690 parameters; a count that leaves out the last normalisation (264) and the bias of the last layer (10) is
175,416. This is the paper's network with bottlenecks and transitions that halve the channels (BC); of that without
them, with twelve layers a block, the same count would be about a million.

Source: https://arxiv.org/abs/1608.06993.
Command: python main.py --config=configs/fashion/densenet.py
Not trained here.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0

    config.model = ConfigDict()
    config.model.init = "he(distribution='normal')"
    config.model.bn = "batch_norm(0.9, 1e-5) | relu"
    config.model.grown = "conv(12, 3, padding=1, use_bias=False)"
    config.model.grow = "concat(identity, bn | conv(48, 1, use_bias=False) | bn | grown)"
    config.model.shrink = "w: bn | conv(w, 1, use_bias=False) | avg_pool(2)"
    config.model.layers = """
        conv(24, 3, padding=1, use_bias=False) | 6 * grow | shrink(48) | 6 * grow | shrink(60) | 6 * grow | bn |
        global_avg_pool | dense(classes) | softmax
    """

    config.data = ConfigDict()
    config.data.name = "fashion_mnist"
    config.data.image_shape = (28, 28, 1)
    config.data.classes = 10
    config.data.mean = (0.286,)
    config.data.std = (0.353,)
    config.data.augment = "random_crop(4) | flip"

    config.optimizer = ConfigDict()
    config.optimizer.name = "nesterov"
    config.optimizer.learning_rate = 0.1
    config.optimizer.weight_decay = 1e-4
    config.optimizer.decayed = "all"

    config.schedule = ConfigDict()
    config.schedule.name = "piecewise"
    config.schedule.at_epochs = (150, 225)
    config.schedule.factor = 0.1

    config.train = ConfigDict()
    config.train.batch_size = 64
    config.train.epochs = 300
    return config
