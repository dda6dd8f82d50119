"""VGG-11 on photographs of one's own, at 224x224 pixels: Simonyan and Zisserman 2015, https://arxiv.org/abs/1409.1556.

The network is column A of table 1, 132,863,336 parameters at 1,000 classes, initialised as torchvision does; one
photograph takes 7.6 billion multiply-accumulates. As in section 3.1, the rate is divided by 10 when the validation
accuracy stops rising. The paper moves colours along their principal components; here brightness, contrast and
saturation change. Photographs: `configs/resnet18.py`.

Command: python main.py --config=vgg11 --config.data.data_dir=DIR --config.data.classes=N
Not trained here.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    config = ConfigDict()
    config.seed = 0

    config.model = ConfigDict()
    config.model.init = "he(fan='out', distribution='normal')"
    config.model.c = "w: conv(w, 3, padding=1) | relu"
    config.model.hidden = "dense(4096, init=normal(0.01)) | relu | dropout(0.5)"
    config.model.layers = """
        c(64) | max_pool(2) | c(128) | max_pool(2) | 2 * c(256) | max_pool(2) | 2 * c(512) | max_pool(2) |
        2 * c(512) | max_pool(2) | adaptive_avg_pool(7) | flatten |
        2 * hidden | dense(classes, init=normal(0.01)) | softmax
    """

    config.data = ConfigDict()
    config.data.name = "folder"
    config.data.image_shape = (224, 224, 3)
    config.data.stored_size = (256, 256)
    config.data.classes = 1000
    config.data.resize = "cover"
    config.data.mean = (0.485, 0.456, 0.406)
    config.data.std = (0.229, 0.224, 0.225)
    config.data.augment = "random_crop(0) | flip | color_jitter(0.1, 0.1, 0.1)"

    config.optimizer = ConfigDict()
    config.optimizer.name = "momentum"
    config.optimizer.learning_rate = 0.01
    config.optimizer.momentum = 0.9
    config.optimizer.weight_decay = 0.0005

    config.schedule = ConfigDict()
    config.schedule.name = "plateau"
    config.schedule.evaluations = 5
    config.schedule.factor = 0.1
    config.schedule.final = 0.001

    config.train = ConfigDict()
    config.train.batch_size = 256
    config.train.epochs = 74
    return config
