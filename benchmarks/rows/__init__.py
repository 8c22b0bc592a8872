"""The rows of the table of speeds, one module each: ``measure(setting)`` gives its entries."""
