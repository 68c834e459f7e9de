"""The libraries of arrays that the eager engine runs on, a file for each, which imports that library."""
