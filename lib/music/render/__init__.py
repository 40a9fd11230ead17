"""Rendering of compositions to audio: instruments, drums, mixing, and MIDI files for FluidSynth."""

from reprise.lib.music.render.rendering import render
from reprise.lib.music.render.tones import SAMPLE_RATE

__all__ = ["SAMPLE_RATE", "render"]
