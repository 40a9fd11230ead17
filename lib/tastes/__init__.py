"""Plots of the taste profiles of listeners."""
