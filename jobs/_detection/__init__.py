"""Shared by the jobs of cover detection."""
