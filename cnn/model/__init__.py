"""From a list of layers to a network: which of them are computed together, parameters, logits."""
