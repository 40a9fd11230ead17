"""Composition: works, genre styles and the notes of a track."""
