"""Code that the jobs of generated covers share."""
