"""What several tests use: the table of combinations, comparisons, optimizers, slow readers, a GPU or none."""
