"""Recordings: their samples and tags, and an analysis of them in the terms of the Million Song Dataset."""
