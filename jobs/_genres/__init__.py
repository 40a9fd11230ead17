"""Shared by the jobs of genre classification."""
