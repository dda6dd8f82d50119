"""One run: its state, step, loop and checkpoints."""
