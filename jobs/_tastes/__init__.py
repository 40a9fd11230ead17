"""Modules that the taste profile jobs share."""
