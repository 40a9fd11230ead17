"""Composition: genre styles, works, and the notes of each track."""
