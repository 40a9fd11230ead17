"""Commands of ``reprise`` that are not jobs."""
