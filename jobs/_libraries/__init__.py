"""Shared by the jobs on listeners' own music."""
