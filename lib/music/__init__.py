"""Composed music: notes, their sound, and a synthetic dataset made of both."""
