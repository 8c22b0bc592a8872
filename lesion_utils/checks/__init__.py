"""Other people's results: confusion matrices, prediction tables, splits, and other sets of images."""
