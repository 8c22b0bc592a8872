"""Anybody's prediction table: read, judged, and shown on one page."""
