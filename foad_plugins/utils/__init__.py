"""Small helpers that everything else may use."""
