"""PyTorch as people write it: channels last, fused optimizer; `compile` in the description compiles it as well.

On a GPU, if the description says `device`, float32 is computed by the matrix units as JAX does by default (TF32), and
cuDNN looks for the fastest algorithm; with the `dtype` bfloat16 it is automatic mixed precision.
"""

import numpy as np
import torch
import worker
from torch import nn


class Residual(nn.Module):
    def __init__(self, body, shortcut):
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x):
        return self.body(x) + self.shortcut(x)


class LazyDepthwise(nn.LazyConv2d):
    """A convolution of each channel by itself, however many there will be."""

    def __init__(self, multiplier, *arguments, **options):
        super().__init__(multiplier, *arguments, **options)
        self.multiplier = multiplier

    def initialize_parameters(self, x):
        if self.has_uninitialized_params():
            self.groups, self.out_channels = x.shape[1], x.shape[1] * self.multiplier
        super().initialize_parameters(x)


class MeanOfPixels(nn.Module):
    def forward(self, x):
        return x.mean((2, 3))


class SamePad(nn.Module):
    """Pads as TensorFlow does: to ceil(size / stride) outputs, the odd one at the end."""

    def __init__(self, kernel, strides):
        super().__init__()
        self.kernel, self.strides = kernel, strides

    def forward(self, x):
        pads = []
        for size, k, s in reversed(list(zip(x.shape[2:], self.kernel, self.strides, strict=True))):
            total = max((-(-size // s) - 1) * s + k - size, 0)
            pads += [total // 2, total - total // 2]
        return nn.functional.pad(x, pads)


def chain(description):
    return nn.Sequential(*(module for kind, options in description for module in one(kind, options)))


def sides(padding):
    """Returns the pixels on either side of rows and of columns; none for a name."""
    return (0, 0) if isinstance(padding, str) else tuple(before for before, _ in padding)


def one(kind, options):
    if kind == "conv":
        own = {"padding": sides(options["padding"]), "bias": options["use_bias"]}
        conv = nn.LazyConv2d(options["features"], options["kernel"], options["strides"], **own)
        if options["padding"] != "same" or options["kernel"] == [1, 1]:
            return [conv]
        if options["strides"] == [1, 1]:
            return [nn.LazyConv2d(options["features"], options["kernel"], padding="same", bias=options["use_bias"])]
        return [SamePad(options["kernel"], options["strides"]), conv]
    if kind == "depthwise":
        own = {"padding": sides(options["padding"]), "bias": options["use_bias"]}
        return [LazyDepthwise(options["multiplier"], options["kernel"], options["strides"], **own)]
    if kind in ("max_pool", "avg_pool"):
        pool = nn.MaxPool2d if kind == "max_pool" else nn.AvgPool2d
        # Of maps that a ReLU made, on which alone our networks pool with padding, no maximum is below its zeros.
        pads = [SamePad(options["window"], options["strides"])] if options["padding"] == "same" else []
        return [*pads, pool(tuple(options["window"]), tuple(options["strides"]), sides(options["padding"]))]
    if kind == "residual":
        return [Residual(chain(options["body"]), chain(options["shortcut"]))]
    simple = {
        "relu": lambda: [nn.ReLU()],
        "relu6": lambda: [nn.ReLU6()],
        "dropout": lambda: [nn.Dropout(options["rate"])],
        "tanh": lambda: [nn.Tanh()],
        "flatten": lambda: [nn.Flatten()],
        "global_avg_pool": lambda: [MeanOfPixels()],
        "batch_norm": lambda: [nn.LazyBatchNorm2d()],
        "dense": lambda: [nn.LazyLinear(options["features"])],
        "softmax": list,
    }
    return simple[kind]()


def build(spec):
    torch.set_num_threads(spec["threads"])
    torch.manual_seed(0)
    device = torch.device(spec.get("device", "cpu"))
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    images, labels = worker.examples(spec)
    images, labels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))), torch.from_numpy(labels)
    images, labels = images.to(device), labels.to(device)
    network = chain(spec["layers"]).to(device)
    network(torch.zeros(2, *images.shape[1:], device=device))
    network.to(memory_format=torch.channels_last)
    if spec["optimizer"] == "adam":
        optimizer = torch.optim.Adam(network.parameters(), 1e-3, fused=True)
    else:
        optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, nesterov=True, fused=True)
    forward = torch.compile(network) if spec.get("compile") else network
    loss_of, size = nn.CrossEntropyLoss(), spec["batch_size"]
    mixed = torch.autocast(device.type, torch.bfloat16, enabled=spec.get("dtype") == "bfloat16")

    def batch(rows):
        return (images[rows].float() / 255).contiguous(memory_format=torch.channels_last)

    def done():
        if device.type == "cuda":
            torch.cuda.synchronize()

    def train(count):
        network.train()
        for _ in range(count):
            rows = torch.randint(len(labels), (size,), device=device)
            optimizer.zero_grad(set_to_none=True)
            with mixed:
                loss = loss_of(forward(batch(rows)), labels[rows])
            loss.backward()
            optimizer.step()
        done()

    @torch.inference_mode()
    def evaluate(count):
        network.eval()
        for number in range(count):
            start = number * size % (len(labels) - size)
            with mixed:
                forward(batch(slice(start, start + size)))
        done()

    return {"train": train, "evaluate": evaluate}


worker.serve(build)
