"""Analysis of a recording in the terms of the Million Song Dataset: beats, bars, key, segments, sections."""
