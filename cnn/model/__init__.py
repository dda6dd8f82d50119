"""From a list of layers to a network: its rows, which layers are computed together, its parameters and logits."""
