"""Teachers: checkpoints with their networks."""
