"""What is claimed, what was measured, and the verdict."""
