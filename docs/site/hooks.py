"""Steps of the site build: the README becomes the start page, and each leaderboard gets its interactive page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[2]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the start page and the leaderboards' interactive pages, made from their records."""
    readme = re.sub(r"\]\(docs/", "](", (ROOT / "README.md").read_text("utf-8"))
    repository = config.repo_url.rstrip("/") + "/blob/main/" if config.repo_url else None
    readme = re.sub(
        r"\[([^\]]+)\]\(((?:CONTRIBUTING|CHANGELOG|CITATION|LICENSE)[^)]*)\)",
        lambda match: f"[{match[1]}]({repository}{match[2]})" if repository else match[1],
        readme,
    )
    files.append(File.generated(config, "index.md", content=readme))
    for folder in sorted(path.parent for path in (ROOT / "docs" / "leaderboards").glob("*/records")):
        name = f"leaderboards/{folder.name}/leaderboard.html"
        found = files.get_file_from_path(name)
        if found is not None:
            files.remove(found)
        files.append(File.generated(config, name, content=_page(folder)))
    return files


def on_page_markdown(markdown: str, page: Any, config: MkDocsConfig, files: Files) -> str:
    """On the page of a leaderboard, say where its interactive page is."""
    if re.fullmatch(r"leaderboards/[^/]+/leaderboard\.md", page.file.src_uri):
        return "[Sort, filter and hover: the interactive page](leaderboard.html)\n\n" + markdown
    return markdown


def _page(folder: Path) -> bytes:
    from foad_plugins.benchmarks.records import RecordStore
    from foad_plugins.benchmarks.report import leaderboards
    from foad_plugins.benchmarks.report.html.page import page_bytes

    return page_bytes(leaderboards(RecordStore(folder / "records").all()))
