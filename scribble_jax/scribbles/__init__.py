"""The command that makes, reads, spoils, measures and checks scribbles."""
