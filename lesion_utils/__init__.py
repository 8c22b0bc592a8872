"""The package behind the five notebooks: from image files to judged numbers.

Each room imports only rooms above it in the table of CONTRIBUTING.md; importing the package itself loads nothing.
"""
