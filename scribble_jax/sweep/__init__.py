"""Sweeps: many runs of one config with different changes and seeds."""
