"""Faces: photographs and how they are cropped, pairs of them, and verification by pairs."""
