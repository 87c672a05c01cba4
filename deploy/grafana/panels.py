"""
How a panel of ours looks, whatever it shows.

Every query is made for any number of gateways: counters are summed over them, what a shared store knows is the same for
all and is shown once (`max`).
"""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Final

from grafana_foundation_sdk.builders import bargauge, common, stat, timeseries
from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueColorMode,
    BigValueTextMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import DashboardCursorSync, DataSourceRef

SOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
RATE: Final = "[$__rate_interval]"
USD, SHARE, SECONDS, BYTES, PER_SECOND, COUNT = "currencyUSD", "percentunit", "s", "bytes", "ops", "short"
_WIDTH: Final = 24

Panel = timeseries.Panel | stat.Panel | bargauge.Panel
Queries = Mapping[str, str]
"""Legend -> PromQL."""


def number(title: str, told: str, query: str, unit: str, decimals: int = 2, legend: str = "") -> stat.Panel:
    """One number for the whole range that is shown; `legend`: with what it is of."""
    return (
        stat.Panel()
        .title(title)
        .description(told)
        .datasource(SOURCE)
        .unit(unit)
        .decimals(decimals)
        .height(4)
        .color_mode(BigValueColorMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .text_mode(BigValueTextMode.VALUE_AND_NAME if legend else BigValueTextMode.VALUE)
        .with_target(Dataquery().expr(query).legend_format(legend).instant().ref_id("A"))
    )


def lines(title: str, told: str, queries: Queries, unit: str, *, stacked: bool = False) -> timeseries.Panel:
    """How something goes."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(told)
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .height(8)
        .line_width(1)
        .fill_opacity(15 if stacked else 0)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)  # noqa: FBT003 - the library's
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    for at, (legend, query) in enumerate(queries.items()):
        panel = panel.with_target(
            Dataquery().expr(query).legend_format(legend).range().ref_id(chr(ord("A") + at))
        )
    return panel


def bars(title: str, told: str, legend: str, query: str, unit: str) -> bargauge.Panel:
    """What several come to, beside one another."""
    return (
        bargauge.Panel()
        .title(title)
        .description(told)
        .datasource(SOURCE)
        .unit(unit)
        .height(8)
        .orientation(VizOrientation.HORIZONTAL)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .display_mode(BarGaugeDisplayMode.BASIC)
        .with_target(Dataquery().expr(query).legend_format(legend).instant().ref_id("A"))
    )


def grown(metric: str, labels: str = "") -> str:
    """
    What counters have grown by in the range that is shown.

    What a series begins with is no increase to Prometheus: of one that is new all of it counts, as the first call of a team
    may be the dearest. But for one that is new and has begun anew since (the gateway was restarted): then it is the increase.
    """
    one = metric + labels
    new = f"({one} unless {one} offset $__range) and resets({one}[$__range]) == 0"
    return f"sum(({new}) or increase({one}[$__range]))"


def spent(by: str) -> str:
    """US dollars an hour, by some label, without what late truth took back."""
    cost, back = (
        f"sum by ({by}) (rate({metric}{RATE}))"
        for metric in ("imagegate_cost_usd_total", "imagegate_cost_taken_back_usd_total")
    )
    return f"({cost} - ({back} or 0 * {cost})) * 3600"


def quantiles(metric: str, by: str = "", kept: Sequence[float] = (0.5, 0.99)) -> Queries:
    """Quantiles of a histogram, each by some label."""
    labels, legend = (f"le, {by}", f" {{{{{by}}}}}") if by else ("le", "")
    return {
        f"p{quantile * 100:g}{legend}": f"histogram_quantile({quantile}, sum by ({labels}) (rate({metric}_bucket{RATE})))"
        for quantile in kept
    }


def dashboard(uid: str, title: str, told: str, rows: Mapping[str, Sequence[Panel]]) -> dashboards.Dashboard:
    """
    A dashboard. Which Prometheus it asks is chosen in it.

    Args:
        uid: by which Grafana knows it.
        title: after `Imagegate: `.
        told: what it answers.
        rows: the panels of each row, which share its width.
    """
    made = (
        dashboards.Dashboard(f"Imagegate: {title}")
        .uid(uid)
        .description(told)
        .tags(["imagegate"])
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .with_variable(dashboards.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    ids = count(1)
    for name, panels in rows.items():
        made = made.with_row(dashboards.Row(name).id(next(ids)))
        for panel in panels:
            made = made.with_panel(panel.id(next(ids)).span(_WIDTH // len(panels)))
    return made
