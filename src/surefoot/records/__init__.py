"""What rules and losses share: records made of plain functions that every engine can run, and hyperparameters."""
