"""The five published systems: how they split their data, and how they hand over their models."""
