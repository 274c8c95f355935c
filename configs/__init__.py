"""Every number of the program, one file an experiment."""
