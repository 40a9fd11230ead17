"""Inputs of genre models: features of audio and of analyses, and images of audio and of analyses."""
