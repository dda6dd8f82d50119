"""A run's directory: lock, checkpoints, metrics, and what tells two runs apart."""
