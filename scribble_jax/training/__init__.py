"""Training of either stage: updates, the train loop, the record of a run."""
