"""All settings of the program, one file per experiment."""
