"""ResNet-18 on photographs of one's own, at 224x224 pixels: He et al. 2016, https://arxiv.org/abs/1512.03385, table 1.

Photographs lie in DIR/train/CLASS/ and DIR/test/CLASS/. They are scaled to cover 256x256 and held so; training crops
boxes of random size and shape, everything else sees the centre. One takes 1.8 billion multiply-accumulates, so this
wants an accelerator. Where strides leave the padding uneven, the odd row and column are at the end; torchvision pads
both sides alike.

Command: python main.py --config=resnet18 --config.data.data_dir=DIR --config.data.classes=N
Not measured yet.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0

    config.model = ConfigDict()
    config.model.width = 64
    config.model.layers = """
        conv(width, 7, strides=2, padding="same", use_bias=False) | batch_norm(0.9, 1e-5) | relu |
        max_pool(3, 2, padding="same") |
        2 * (residual(
            conv(width, 3, padding="same", use_bias=False) | batch_norm(0.9, 1e-5) | relu |
            conv(width, 3, padding="same", use_bias=False) | batch_norm(0.9, 1e-5)) | relu) |
        residual(
            conv(2 * width, 3, strides=2, padding="same", use_bias=False) | batch_norm(0.9, 1e-5) | relu |
            conv(2 * width, 3, padding="same", use_bias=False) | batch_norm(0.9, 1e-5),
            shortcut=conv(2 * width, 1, strides=2, use_bias=False) | batch_norm(0.9, 1e-5)) | relu |
        residual(
            conv(2 * width, 3, padding="same", use_bias=False) | batch_norm(0.9, 1e-5) | relu |
            conv(2 * width, 3, padding="same", use_bias=False) | batch_norm(0.9, 1e-5)) | relu |
        residual(
            conv(4 * width, 3, strides=2, padding="same", use_bias=False) | batch_norm(0.9, 1e-5) | relu |
            conv(4 * width, 3, padding="same", use_bias=False) | batch_norm(0.9, 1e-5),
            shortcut=conv(4 * width, 1, strides=2, use_bias=False) | batch_norm(0.9, 1e-5)) | relu |
        residual(
            conv(4 * width, 3, padding="same", use_bias=False) | batch_norm(0.9, 1e-5) | relu |
            conv(4 * width, 3, padding="same", use_bias=False) | batch_norm(0.9, 1e-5)) | relu |
        residual(
            conv(8 * width, 3, strides=2, padding="same", use_bias=False) | batch_norm(0.9, 1e-5) | relu |
            conv(8 * width, 3, padding="same", use_bias=False) | batch_norm(0.9, 1e-5),
            shortcut=conv(8 * width, 1, strides=2, use_bias=False) | batch_norm(0.9, 1e-5)) | relu |
        residual(
            conv(8 * width, 3, padding="same", use_bias=False) | batch_norm(0.9, 1e-5) | relu |
            conv(8 * width, 3, padding="same", use_bias=False) | batch_norm(0.9, 1e-5)) | relu |
        global_avg_pool | dense(classes) | softmax
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
    config.optimizer.weight_decay = 1e-4

    config.schedule = ConfigDict()
    config.schedule.name = "cosine"
    config.schedule.warmup_steps = 500

    config.train = ConfigDict()
    config.train.batch_size = 256
    config.train.epochs = 90
    config.train.label_smoothing = 0.1
    return config
