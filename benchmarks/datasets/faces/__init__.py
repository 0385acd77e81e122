"""Faces: photographs and how they are cut out, pairs of them, and verification by pairs."""
