"""Features of audio and of analyses for genre models, and images of both."""
