"""Code shared by the jobs of cover detection."""
