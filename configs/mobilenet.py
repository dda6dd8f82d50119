"""MobileNetV2 on photographs of one's own, at 224x224 pixels: Sandler et al. 2018, https://arxiv.org/abs/1801.04381.

The network is table 2, 3,504,872 parameters at 1,000 classes; one photograph takes 0.3 billion multiply-accumulates. It
is trained as torchvision trains it, by momentum with a rate that falls by 2 % an epoch; the paper takes RMSProp with
momentum. Photographs: `configs/resnet18.py`.

Command: python main.py --config=mobilenet --config.data.data_dir=DIR --config.data.classes=N
Not trained here.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0

    config.model = ConfigDict()
    config.model.init = "he(fan='out', distribution='normal')"
    config.model.conv_bn = "w, k=3, s=1: conv(w, k, strides=s, padding=k // 2, use_bias=False) | batch_norm(0.9, 1e-5)"
    config.model.dw = "s: depthwise(3, strides=s, padding=1, use_bias=False) | batch_norm(0.9, 1e-5) | relu6"
    config.model.wide = "i, o, s: conv_bn(6 * i, 1) | relu6 | dw(s) | conv_bn(o, 1)"
    config.model.stage = "i, o, s, n: wide(i, o, s) | n * residual(wide(o, o, 1))"
    config.model.layers = """
        conv_bn(32, 3, 2) | relu6 | dw(1) | conv_bn(16, 1) |
        stage(16, 24, 2, 1) | stage(24, 32, 2, 2) | stage(32, 64, 2, 3) | stage(64, 96, 1, 2) | stage(96, 160, 2, 2) |
        wide(160, 320, 1) | conv_bn(1280, 1) | relu6 |
        global_avg_pool | dropout(0.2) | dense(classes, init=normal(0.01)) | softmax
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
    config.optimizer.name = "momentum"
    config.optimizer.learning_rate = 0.045
    config.optimizer.momentum = 0.9
    config.optimizer.weight_decay = 4e-05

    config.schedule = ConfigDict()
    config.schedule.name = "exponential"
    config.schedule.rate = 0.98
    config.schedule.smooth = False

    config.train = ConfigDict()
    config.train.batch_size = 256
    config.train.epochs = 300
    return config
