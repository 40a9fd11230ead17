"""Genre classification: feature sets, learners, trained models, and their evaluation."""
