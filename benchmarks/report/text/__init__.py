"""Markdown and CSV."""
