"""What a run of either stage is made of: updates, checkpoints, its record."""
