"""What mkdocs.yml cannot say: the decisions in the navigation, and links to files that are no page of the site."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent / "docs"
OUTSIDE = re.compile(r"(?<!!)\[([^\]]*)\]\((\.\./[^)\s]*)\)")


def on_config(config: Any) -> Any:
    """Add a part with every decision to the navigation; what is no page yet is left out of it."""
    decisions = [f"decisions/{path.name}" for path in sorted((DOCS / "decisions").glob("*.md"))]
    config.nav.append({"Decisions": decisions})
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """A link that leads out of docs/ is only words, with the path: the site has no such file."""
    depth = page.file.src_uri.count("/")

    def words(found: re.Match[str]) -> str:
        text, path = found[1], found[2]
        if path.startswith("../" * (depth + 1)):
            bare = path.removeprefix("../" * (depth + 1))
            return text if bare in text else f"{text} (`{bare}`)"
        return found[0]

    return OUTSIDE.sub(words, markdown)
