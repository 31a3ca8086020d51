"""Write grafana/dashboards/*.json; say where the status page and the runbook are read when it is not on this machine."""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.cog.encoder import JSONEncoder

# The SDK would have us use the v2 format, which only the newest Grafana can load from a file.
warnings.filterwarnings("ignore", category=DeprecationWarning, module="grafana_foundation_sdk|grafana.generate")

from grafana.generate import daemon, fleet, model  # noqa: E402 - after the filter: the SDK warns at import too
from grafana.generate.boards import Board, Links  # noqa: E402

BOARDS = {"fleet": fleet.board, "model": model.board, "daemon": daemon.board}


def main() -> None:
    """Make every board; the same input gives the same bytes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, default=Path(__file__).parents[1] / "dashboards")
    parser.add_argument("--status-page", default="http://127.0.0.1:9464", help="where a browser reaches http.listen")
    parser.add_argument(
        "--runbook", default="", help="where docs/runbook.md can be read; without it boards name the file"
    )
    given = parser.parse_args()
    links = Links(status_page=given.status_page.rstrip("/"), runbook=given.runbook)
    for name, board in BOARDS.items():
        text = json.dumps(_to_dict(board(links)), indent=1, sort_keys=True, ensure_ascii=False)
        (given.into / f"{name}.json").write_text(f"{text}\n", "utf-8")


def _to_dict(board: Board) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(json.dumps(board.build(), cls=JSONEncoder))
    content["annotations"].setdefault("list", [])
    for variable in content["templating"]["list"]:
        for key in ("auto", "auto_count", "auto_min"):  # the SDK writes what only variables of intervals have
            variable.pop(key, None)
    return content


main()
