"""Covers: separation of songs into stems."""
