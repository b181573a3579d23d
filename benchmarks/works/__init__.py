"""One module for each family, with a list `WORKS`."""
