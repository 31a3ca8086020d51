"""What the three boards have in common: variables, links among them and out of them, places on the grid."""

from __future__ import annotations

from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import DataSourceRef

SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
UIDS = {"fleet": "driftd-fleet", "model": "driftd-model", "daemon": "driftd-daemon"}
INSTANCE = 'instance=~"$instance"'
MODELS = f'{INSTANCE},model=~"$model"'  # several
MODEL = f'{INSTANCE},model="$model"'  # one
STATUS_PAGE = "${status_page}"

Place = tuple[Builder[models.Panel], int]  # a panel and its width in columns of 24


@dataclass(frozen=True, slots=True)
class Links:
    """Where the boards lead to outside Grafana."""

    status_page: str
    runbook: str  # empty when it is read in the repository only


class Board(dashboard.Dashboard):
    """A dashboard whose panels are placed a line at a time and numbered in reading order."""

    def __init__(self, name: str, title: str, description: str, links: Links) -> None:
        super().__init__(title)
        self._lines = 0
        self._panels: list[models.Panel | models.RowPanel] = []
        self.uid(UIDS[name]).description(description).tags(["driftd"]).readonly().tooltip(
            models.DashboardCursorSync.CROSSHAIR
        ).timezone("browser").time("now-24h", "now").refresh("1m")
        self.with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus").regex(""))
        for other, link in (("fleet", "Fleet"), ("model", "One model"), ("daemon", "Daemon health")):
            if other != name:
                self._leads_to(link, f"/d/{UIDS[other]}", "dashboard", keep=True)
        self._leads_to("Status page", f"{STATUS_PAGE}/", "external link", keep=False)
        if links.runbook:
            self._leads_to("Runbook", links.runbook, "doc", keep=False)
        self._status_page = links.status_page
        self._is_of_model = name == "model"

    def _leads_to(self, title: str, url: str, icon: str, *, keep: bool) -> None:
        link = dashboard.DashboardLink(title).type(models.DashboardLinkType.LINK).url(url).icon(icon)
        self.link(link.keep_time(keep).include_vars(keep).target_blank(not keep).as_dropdown(False).tooltip(title))

    def chooses(self, name: str, label: str, query: str, *, several: bool, description: str) -> Board:
        """A variable from a label's values; with `several`, all of them until some are chosen."""
        variable = (
            dashboard.QueryVariable(name)
            .label(label)
            .description(description)
            .datasource(SOURCE)
            .query({"query": query, "refId": name, "qryType": 1})
            .definition(query)
            .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .sort(models.VariableSort.NATURAL_ASC)
            .multi(several)
            .include_all(several)
        )
        if several:
            variable.all_value(".*").current(models.VariableOption(selected=True, text=["All"], value=["$__all"]))
        self.with_variable(variable)
        return self

    def part(self, title: str, *lines: tuple[int, tuple[Place, ...]]) -> Board:
        """A heading and lines of panels under it: each line its height and its panels."""
        self._panels.append(
            models.RowPanel(
                title=title, id_val=len(self._panels) + 1, grid_pos=models.GridPos(h=1, w=24, y=self._lines)
            )
        )
        self._lines += 1
        for height, places in lines:
            self._line(height, places)
        return self

    def _line(self, height: int, places: tuple[Place, ...]) -> None:
        across = 0
        for panel, width in places:
            built = panel.build()
            built.id_val = len(self._panels) + 1
            built.grid_pos = models.GridPos(h=height, w=width, x=across, y=self._lines)
            built.links = [to_decisions().build()] if self._is_of_model else built.links
            self._panels.append(built)
            across += width
        self._lines += height

    def build(self) -> models.Dashboard:
        """The board with all its panels, and with the variable that says where the status page is."""
        self.with_variable(
            dashboard.TextBoxVariable("status_page")
            .label("Status page")
            .description("Where a browser reaches http.listen of the daemon")
            .default_value(self._status_page)
            .hide(models.VariableHide.HIDE_VARIABLE)
        )
        built = super().build()
        built.panels = self._panels
        return built


def to_model(field: str) -> Builder[models.DashboardLink]:
    """A link of a table's row or of a series to the board of its model."""
    url = f"/d/{UIDS['model']}?var-model={field}&${{datasource:queryparam}}&${{__url_time_range}}"
    return dashboard.DashboardLink("Open this model").url(url)


def to_decisions() -> Builder[models.DashboardLink]:
    """A link of a panel to the alarms and the decisions of its model, in words, on the page that the daemon serves."""
    link = dashboard.DashboardLink("What driftd says and decided").type(models.DashboardLinkType.LINK)
    return link.url(f"{STATUS_PAGE}/#/model/${{model:percentencode}}").target_blank(True)


def to_status_page(field: str) -> Builder[models.DashboardLink]:
    """A link to the page of a model that the daemon itself serves."""
    return dashboard.DashboardLink("Open on the status page").url(f"{STATUS_PAGE}/#/model/{field}").target_blank(True)
