"""Modules that the genre classification jobs share."""
