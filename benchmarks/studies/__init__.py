"""Measurements behind the statements in docs/: each module is a script that writes one page."""
