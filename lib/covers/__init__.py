"""Generated covers: stems of songs."""
