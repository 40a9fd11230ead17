"""Audio files: decode them to samples, encode samples to files, read file headers, read and write tags."""

SAMPLE_RATE = 22_050
"""Sample rate of every analysed signal, in Hz. The signals are mono and float32."""
