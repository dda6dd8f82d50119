"""Several runs taken together: the mean of their probabilities, or one network with the mean of their weights."""
