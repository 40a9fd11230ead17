"""Composed songs as sound: instruments, drums, a mix, and audio files of it."""

from reprise.lib.synth.rendering import render
from reprise.lib.synth.tones import SAMPLE_RATE

__all__ = ["SAMPLE_RATE", "render"]
