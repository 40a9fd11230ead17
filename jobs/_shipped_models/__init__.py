"""Developers' scripts that fit the weights and models shipped with the package. No job runs these scripts."""
