"""Measurements for the pages in docs/: each module is a script that writes one page."""
