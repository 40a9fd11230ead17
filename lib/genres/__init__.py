"""Genre models: what they learn from, how they learn, what they answer, and how good that is."""
