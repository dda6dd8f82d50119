"""Convolution, pooling and dense products as a person would work them out: one window at a time, in float64.

Gradients are the adjoint loops: what a value gave to an output, it gets back from that output's gradient.
"""

import itertools
from collections.abc import Iterator

import numpy as np

Pair = tuple[int, int]
Tap = tuple[int, int]


def taps(size: int, window: int, stride: int, padding: str | Pair, dilation: int = 1) -> list[list[Tap]]:
    """Lists for each output along one axis which place of the window reads which pixel; padding is left out.

    Source:
      The paddings are TensorFlow's, https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2.
    """
    reach = (window - 1) * dilation + 1
    if isinstance(padding, str):
        count = (size - reach) // stride + 1 if padding == "valid" else -(-size // stride)
        before = 0 if padding == "valid" else max((count - 1) * stride + reach - size, 0) // 2
    else:
        before, after = padding
        count = (before + size + after - reach) // stride + 1
    reads = [[(tap, out * stride - before + tap * dilation) for tap in range(window)] for out in range(count)]
    return [[(tap, pixel) for tap, pixel in read if 0 <= pixel < size] for read in reads]


def conv2d(
    images, kernel, bias: np.ndarray | float = 0.0, *, strides=(1, 1), padding="valid", dilation=(1, 1), groups=1
):
    """Cross-correlates NHWC images with an HWIO kernel."""
    images, kernel = np.asarray(images, np.float64), np.asarray(kernel, np.float64)
    outputs = _outputs(images, kernel.shape[:2], strides, padding, dilation)
    result = np.zeros((len(images), *_size(outputs), kernel.shape[3]))
    for row, column, window in outputs:
        for (i, y), (j, x) in window:
            for inputs, features in _groups(kernel, groups):
                result[:, row, column, features] += images[:, y, x, inputs] @ kernel[i, j][:, features]
    return result + bias


def conv2d_grads(images, kernel, grads, *, strides=(1, 1), padding="valid", dilation=(1, 1), groups=1):
    """Returns the gradients by the images, the kernel and the bias."""
    images, kernel, grads = (np.asarray(array, np.float64) for array in (images, kernel, grads))
    by_images, by_kernel = np.zeros_like(images), np.zeros_like(kernel)
    for row, column, window in _outputs(images, kernel.shape[:2], strides, padding, dilation):
        for (i, y), (j, x) in window:
            for inputs, features in _groups(kernel, groups):
                by_images[:, y, x, inputs] += grads[:, row, column, features] @ kernel[i, j][:, features].T
                by_kernel[i, j][:, features] += images[:, y, x, inputs].T @ grads[:, row, column, features]
    return by_images, by_kernel, grads.sum(axis=(0, 1, 2))


def max_pool(images, window: Pair, strides: Pair, padding="valid"):
    """Keeps the largest pixel of each window."""
    return _pool(images, window, strides, padding, lambda pixels: pixels.max(axis=1))


def avg_pool(images, window: Pair, strides: Pair, padding="valid"):
    """Averages the pixels of each window, padding not counted."""
    return _pool(images, window, strides, padding, lambda pixels: pixels.mean(axis=1))


def max_pool_grads(images, grads, window: Pair, strides: Pair, padding="valid"):
    """Gives each gradient to the largest pixel of its window; there must be no ties."""
    return _pool_grads(images, grads, window, strides, padding, lambda pixels: pixels == pixels.max(axis=1)[:, None])


def avg_pool_grads(images, grads, window: Pair, strides: Pair, padding="valid"):
    """Gives each gradient in equal parts to the pixels of its window."""
    return _pool_grads(images, grads, window, strides, padding, lambda pixels: 1 / pixels.shape[1])


def dense(vectors, kernel, bias: np.ndarray | float = 0.0):
    """Sums the weighted inputs of each feature."""
    vectors, kernel = np.asarray(vectors, np.float64), np.asarray(kernel, np.float64)
    return (vectors[:, :, None] * kernel[None]).sum(axis=1) + bias


def dense_grads(vectors, kernel, grads):
    """Returns the gradients by the vectors, the kernel and the bias."""
    vectors, kernel, grads = (np.asarray(array, np.float64) for array in (vectors, kernel, grads))
    by_vectors = (grads[:, None] * kernel[None]).sum(axis=2)
    return by_vectors, (vectors[:, :, None] * grads[:, None]).sum(axis=0), grads.sum(axis=0)


def _outputs(images, window: Pair, strides: Pair, padding: str, dilation: Pair = (1, 1)) -> list:
    """Lists row, column and the window of taps of each output."""
    rows, columns = (taps(*axis) for axis in _axes(images, window, strides, padding, dilation))
    return [
        (row, column, list(itertools.product(row_taps, column_taps)))
        for (row, row_taps), (column, column_taps) in itertools.product(enumerate(rows), enumerate(columns))
    ]


def _axes(images, window: Pair, strides: Pair, padding: str, dilation: Pair) -> Iterator[tuple]:
    sides = (padding, padding) if isinstance(padding, str) else padding
    return zip(images.shape[1:3], window, strides, sides, dilation, strict=True)


def _size(outputs: list) -> Pair:
    return outputs[-1][0] + 1, outputs[-1][1] + 1


def _groups(kernel, groups: int) -> list[tuple[slice, slice]]:
    inputs, features = kernel.shape[2], kernel.shape[3] // groups
    return [(slice(g * inputs, (g + 1) * inputs), slice(g * features, (g + 1) * features)) for g in range(groups)]


def _pixels(images, window: list):
    return np.stack([images[:, y, x] for (_, y), (_, x) in window], axis=1)


def _pool(images, window: Pair, strides: Pair, padding: str, summary):
    images = np.asarray(images, np.float64)
    outputs = _outputs(images, window, strides, padding)
    result = np.zeros((len(images), *_size(outputs), images.shape[3]))
    for row, column, read in outputs:
        result[:, row, column] = summary(_pixels(images, read))
    return result


def _pool_grads(images, grads, window: Pair, strides: Pair, padding: str, shares):
    images, grads = np.asarray(images, np.float64), np.asarray(grads, np.float64)
    result = np.zeros_like(images)
    for row, column, read in _outputs(images, window, strides, padding):
        pixels = _pixels(images, read)
        given = np.broadcast_to(shares(pixels) * grads[:, row, column][:, None], pixels.shape)
        for place, ((_, y), (_, x)) in enumerate(read):
            result[:, y, x] += given[:, place]
    return result
