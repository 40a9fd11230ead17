"""Analysis of a recording with the fields of the Million Song Dataset: beats, bars, key, segments, sections."""
