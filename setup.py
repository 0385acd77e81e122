"""The addresses of the project: FOAD_REPO_URL, which the release workflow sets, fills them all."""

import os

from setuptools import setup

_REPOSITORY = os.environ.get("FOAD_REPO_URL", "").rstrip("/")
_SITE = os.environ.get("FOAD_SITE_URL", "").rstrip("/")

urls = {}
if _REPOSITORY:
    urls = {
        "Repository": _REPOSITORY,
        "Issues": f"{_REPOSITORY}/issues",
        "Changelog": f"{_REPOSITORY}/blob/main/CHANGELOG.md",
    }
if _SITE:
    urls["Documentation"] = _SITE

setup(project_urls=urls)
