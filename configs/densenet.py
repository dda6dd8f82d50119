"""DenseNet-121 on photographs of one's own, at 224x224 pixels: Huang et al. 2017, https://arxiv.org/abs/1608.06993.

The network is table 1, with 32 more channels a layer, and torchvision's: 7,978,856 parameters at 1,000 classes. One
photograph takes 2.8 billion multiply-accumulates. Trained as in section 4.2. Photographs: `configs/resnet18.py`.

Command: python main.py --config=densenet --config.data.data_dir=DIR --config.data.classes=N
Not trained here.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0

    config.model = ConfigDict()
    config.model.init = "he(distribution='normal')"
    config.model.bn = "batch_norm(0.9, 1e-5) | relu"
    config.model.grow = """
        concat(identity, bn | conv(128, 1, use_bias=False) | bn | conv(32, 3, padding=1, use_bias=False))
    """
    config.model.shrink = "w: bn | conv(w, 1, use_bias=False) | avg_pool(2)"
    config.model.layers = """
        conv(64, 7, strides=2, padding=3, use_bias=False) | bn | max_pool(3, 2, padding=1) |
        6 * grow | shrink(128) | 12 * grow | shrink(256) | 24 * grow | shrink(512) | 16 * grow | bn |
        global_avg_pool | dense(classes, init=lecun('uniform', gain=0.3333333)) | softmax
    """

    config.data = ConfigDict()
    config.data.name = "folder"
    config.data.image_shape = (224, 224, 3)
    config.data.stored_size = (256, 256)
    config.data.classes = 1000
    config.data.resize = "cover"
    config.data.mean = (0.485, 0.456, 0.406)
    config.data.std = (0.229, 0.224, 0.225)
    config.data.augment = "random_resized_crop | flip"

    config.optimizer = ConfigDict()
    config.optimizer.name = "nesterov"
    config.optimizer.learning_rate = 0.1
    config.optimizer.momentum = 0.9
    config.optimizer.weight_decay = 0.0001
    config.optimizer.decayed = "all"

    config.schedule = ConfigDict()
    config.schedule.name = "step"
    config.schedule.every_epochs = 30
    config.schedule.factor = 0.1

    config.train = ConfigDict()
    config.train.batch_size = 256
    config.train.epochs = 90
    return config
