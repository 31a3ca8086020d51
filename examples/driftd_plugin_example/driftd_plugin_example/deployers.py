"""A deployer: the artefact is put into the folder that a serving system watches."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def copy_artefact(order: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """Options: `folder`. The file `model` there is replaced in one step; without an artefact it is taken away."""
    folder, artefact = Path(str(options["folder"])), order.get("artefact")
    if order["action"] == "ask":
        (folder / "wanted").write_text(f"{order['reason']}\n")
        return "a new version is asked for in the file wanted"
    if artefact is None:
        (folder / "model").unlink(missing_ok=True)
        return "the file model is gone"
    shutil.copyfile(str(artefact), folder / ".model")
    (folder / ".model").replace(folder / "model")
    return f"the file model is version {order['version']}"
