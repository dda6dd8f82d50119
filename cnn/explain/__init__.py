"""What a trained network makes of images: every layer's numbers, and its first filters."""
