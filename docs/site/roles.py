"""Sphinx roles in docstrings (``:func:`~foad_plugins.prune```) as links of MkDocs, where the site has the target."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import griffe

_ROLE = re.compile(r":(?:func|class|meth|mod|attr|exc):`(~?)\.?([\w.]+)`")
_PAGES = Path(__file__).resolve().parents[1] / "api"


class Roles(griffe.Extension):
    """Rewrites the docstring of each object that is collected."""

    def __init__(self) -> None:
        text = "\n".join(page.read_text("utf-8") for page in _PAGES.glob("*.md"))
        self._documented = set(re.findall(r"^::: ([\w.]+)$", text, flags=re.MULTILINE))

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Replace the roles of one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = _ROLE.sub(self._link, obj.docstring.value)

    def _link(self, match: re.Match[str]) -> str:
        target = match[2]
        label = target.rsplit(".", 1)[-1] if match[1] else target
        return f"[`{label}`][{target}]" if target in self._documented else f"`{label}`"
