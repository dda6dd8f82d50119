"""What makes updates of gradients: optimizers, schedules, clips, averages."""
