"""Recordings: their samples and tags, and an analysis of them in the terms of the Million Song Dataset."""

SAMPLE_RATE = 22_050
"""Samples a second of every signal that is analysed: mono, float32."""
