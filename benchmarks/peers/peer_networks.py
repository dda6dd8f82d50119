"""The network of a config as plain lists, which every competitor builds from; needs no JAX."""

import runpy


def sections(path):
    """Returns the sections of a config file."""
    return runpy.run_path(path)["get_config"]().to_dict()


def described(layers):
    """Returns [[kind, fields], ...] as JSON can hold it; each initialises as it does by itself."""
    described_layers = []
    for layer in layers:
        if layer.kind == "identity":
            continue
        values = {name: value for name, value in vars(layer).items() if name != "init" and not name.startswith("_")}
        for name in ("body", "shortcut"):
            if name in values:
                values[name] = described(values[name])
        described_layers.append([layer.kind, values])
    return described_layers
