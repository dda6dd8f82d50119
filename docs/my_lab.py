"""A layer, a whole network, a loss, an optimizer, an augmentation, a metric and a schedule of one's own.

    python main.py --config.extensions=docs/my_lab.py --config.model.layers="resnet20 | dense(classes)"

What each of them is given, and what its annotations mean, is in docs/extensions.md.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import cnn


@cnn.layer
class SqueezeExcite(nn.Module):
    """Scales each channel by what the whole map says of it.

    Source:
      Hu et al. 2018, https://arxiv.org/abs/1709.01507.
    """

    ratio: int = 4

    @nn.compact
    def __call__(self, x):
        channels = x.shape[-1]
        scale = nn.relu(nn.Dense(max(1, channels // self.ratio))(x.mean(axis=(1, 2))))
        return x * nn.sigmoid(nn.Dense(channels)(scale))[:, None, None, :]


class Block(nn.Module):
    """Two convolutions with batch normalisation, and a shortcut that is padded with zeros where the width grows."""

    width: int
    stride: int

    @nn.compact
    def __call__(self, x, train):
        y = nn.Conv(self.width, (3, 3), self.stride, use_bias=False)(x)
        y = nn.relu(nn.BatchNorm(use_running_average=not train)(y))
        y = nn.Conv(self.width, (3, 3), use_bias=False)(y)
        y = nn.BatchNorm(use_running_average=not train)(y)
        x = x[:, :: self.stride, :: self.stride]
        return nn.relu(y + jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, self.width - x.shape[-1]))))


@cnn.layer(name="resnet20")
class ResNet20(nn.Module):
    """Three stages of residual blocks up to the global average; `resnet20 | dense(classes)` is the whole network.

    Source:
      He et al. 2016, https://arxiv.org/abs/1512.03385, section 4.2.
    """

    width: int = 16
    blocks: int = 3

    @nn.compact
    def __call__(self, x, *, train: bool = False):
        x = nn.Conv(self.width, (3, 3), use_bias=False)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        for stage in range(3):
            for block in range(self.blocks):
                x = Block(self.width * 2**stage, 2 if stage and not block else 1)(x, train)
        return x.mean(axis=(1, 2))


@cnn.loss
def focal_loss(logits, labels, gamma: cnn.NonNegative = 2.0):
    """Cross-entropy that counts what is known already for less: Lin et al. 2017, https://arxiv.org/abs/1708.02002."""
    log_p = jax.nn.log_softmax(logits)
    return -(labels * (1 - jnp.exp(log_p)) ** gamma * log_p).sum(axis=-1)


@cnn.optimizer
def adafactor(learning_rate: cnn.LearningRate, decay_rate: cnn.Rate = 0.8, clip: cnn.Positive = 1.0):
    """Adam with a row and a column for each kernel's second moments: https://arxiv.org/abs/1804.04235."""
    return optax.adafactor(learning_rate, decay_rate=decay_rate, clipping_threshold=clip)


@cnn.augmentation
def random_gamma(image, key, spread: cnn.NonNegative = 0.5):
    """Makes what is neither black nor white darker or lighter, by a power from exp(-spread) to exp(spread)."""
    return image ** jnp.exp(spread * jax.random.uniform(key, minval=-1))


@cnn.metric
def mean_recall(logits, labels):
    """The mean over the classes that occur of the share of their examples that are right, in NumPy."""
    right = logits.argmax(axis=1) == labels
    return np.mean([right[labels == label].mean() for label in np.unique(labels)])


@cnn.schedule
def inverse_root(step, total_steps, start: cnn.Fraction = 0.1):
    """Falls with the root of the steps, from the end of the first `start` of the run on."""
    begin = jnp.maximum(1.0, start * total_steps)
    return jnp.sqrt(begin / jnp.maximum(begin, step + 1))
