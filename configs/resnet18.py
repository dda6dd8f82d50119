"""ResNet-18 on photographs of one's own, at 224x224 pixels: He et al. 2016, https://arxiv.org/abs/1512.03385, table 1.

Photographs lie in DIR/train/CLASS/ and DIR/test/CLASS/. They are scaled to cover 256x256 and held so; training crops
boxes of random size and shape, everything else sees the centre. One takes 1.8 billion multiply-accumulates, so this
wants an accelerator. The network is torchvision's, 11,689,512 parameters at 1,000 classes; the rate is divided by 10
after 30 and 60 epochs, where the paper does so when the error stops falling.

Command: python main.py --config=resnet18 --config.data.data_dir=DIR --config.data.classes=N
Not trained here.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0

    config.model = ConfigDict()
    config.model.init = "he(fan='out', distribution='normal')"
    config.model.conv_bn = "w, k=3, s=1: conv(w, k, strides=s, padding=k // 2, use_bias=False) | batch_norm(0.9, 1e-5)"
    config.model.block = """
        w, s=1, shortcut=identity: residual(conv_bn(w, 3, s) | relu | conv_bn(w), shortcut=shortcut) | relu
    """
    config.model.stage = "w: block(w, 2, conv_bn(w, 1, 2)) | block(w)"
    config.model.layers = """
        conv_bn(64, 7, 2) | relu | max_pool(3, 2, padding=1) |
        2 * block(64) | stage(128) | stage(256) | stage(512) |
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
