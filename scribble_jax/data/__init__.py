"""From a data set's files to records, and from those to batches."""
