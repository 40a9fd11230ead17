"""Synthetic music: composition of notes, rendering to audio, and a synthetic dataset made from both."""
