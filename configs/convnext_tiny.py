"""ConvNeXt-T on photographs of one's own, at 224x224 pixels: Liu et al. 2022, https://arxiv.org/abs/2201.03545.

The network is torchvision's, 28,589,128 parameters at 1,000 classes, and each block is dropped as often as there; one
photograph takes 4.5 billion multiply-accumulates. It is trained as in table 5 but for this: batches of 256 with a
sixteenth of the rate, where the paper has 4,096; a warmup of 2,000 steps, there of 20 epochs; CutMix alone, there
it or Mixup; RandAugment without its random strength. Photographs: `configs/resnet18.py`.

Command: python main.py --config=convnext_tiny --config.data.data_dir=DIR --config.data.classes=N
Not trained here.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0

    config.model = ConfigDict()
    config.model.init = "normal(0.02)"
    config.model.block = """
        w, p: residual(depthwise(7, padding=3) | layer_norm | conv(4 * w, 1) | gelu | conv(w, 1) | scale | drop_path(p))
    """
    config.model.down = "w: layer_norm | conv(w, 2, strides=2)"
    config.model.layers = """
        conv(96, 4, strides=4) | layer_norm |
        block(96, 0) | block(96, 0.0059) | block(96, 0.0118) | down(192) |
        block(192, 0.0176) | block(192, 0.0235) | block(192, 0.0294) | down(384) |
        block(384, 0.0353) | block(384, 0.0412) | block(384, 0.0471) | block(384, 0.0529) | block(384, 0.0588) |
        block(384, 0.0647) | block(384, 0.0706) | block(384, 0.0765) | block(384, 0.0824) | down(768) |
        block(768, 0.0882) | block(768, 0.0941) | block(768, 0.1000) |
        global_avg_pool | layer_norm | dense(classes) | softmax
    """

    config.data = ConfigDict()
    config.data.name = "folder"
    config.data.image_shape = (224, 224, 3)
    config.data.stored_size = (256, 256)
    config.data.classes = 1000
    config.data.resize = "cover"
    config.data.mean = (0.485, 0.456, 0.406)
    config.data.std = (0.229, 0.224, 0.225)
    config.data.augment = "random_resized_crop | flip | rand_augment(2, 9) | cutmix(1.0) | erase(0.25)"

    config.optimizer = ConfigDict()
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 0.00025
    config.optimizer.weight_decay = 0.05

    config.schedule = ConfigDict()
    config.schedule.name = "cosine"
    config.schedule.warmup_steps = 2000

    config.train = ConfigDict()
    config.train.batch_size = 256
    config.train.epochs = 300
    config.train.label_smoothing = 0.1
    config.train.average = "ema(0.9999)"
    return config
