"""Shared by the jobs of taste profiles."""
