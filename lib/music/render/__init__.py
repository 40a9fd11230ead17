"""Composed songs as sound: instruments, drums, a mix, and audio files of it."""

from reprise.lib.music.render.rendering import render
from reprise.lib.music.render.tones import SAMPLE_RATE

__all__ = ["SAMPLE_RATE", "render"]
