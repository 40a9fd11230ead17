"""Modules that the jobs on listeners' own music share."""
