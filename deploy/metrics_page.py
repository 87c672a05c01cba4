"""
docs/metrics.md, made of the code: `python -m deploy.metrics_page`.

What is said of a metric and of a label stands in gateway/core/metrics.py; what is said of all of them stands here.
"""

from pathlib import Path

from gateway.core.metrics import LABELS, METRICS, Kind, Metric

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"

_HEAD = """\
<!-- Made by `make generated` of gateway/core/metrics.py. -->
# Metrics

`GET /metrics` on the operators' listener, for Prometheus: text, or OpenMetrics where it is asked for. Whichever worker is
asked answers for all of them. `metrics.enabled = false` switches it off: nothing is counted then, and nothing is there.

```yaml
scrape_configs:
  - job_name: imagegate
    static_configs: [{ targets: ["127.0.0.1:8081"] }]
```

Dashboards for Grafana lie in [deploy/grafana](../deploy/grafana), rules and alerts in
[deploy/prometheus](../deploy/prometheus); what to do about an alert is in [operations.md](operations.md).
"""

_RULES = """\
## What holds for all of them

- **Requests are counted when they are over**, once each, by their record: `requests_total`, durations, refusals. A response
  that runs in the background upstream is over when it has ended there.
- **Money, images and tokens are counted when they stand in the ledger**, by whichever worker wrote them. While the store is
  down they wait with the settlements (`settlements_waiting`) and come when these have landed.
- **The sums are the ledger's.** `cost_usd_total - cost_taken_back_usd_total` is what the records of the ledger cost that
  were written since the gateway started. A counter cannot fall: a call that was charged as lost or estimated and turned out
  to have cost less is counted in the second one. Of images and tokens what was too much stays counted. What has to be known
  to the nano-dollar is asked of the ledger: `imagegate usage`.
- **Prometheus has floats only**, of 53 bits. The gateway counts whole nano-dollars and microseconds and divides where they
  are told: a sum of up to nine million dollars is exact to the nano-dollar, beyond that to one part in 10^16.
- **A killed worker takes nothing with it.** Each counts in a file of its own, in a private folder beside the ledger (or where
  `TMPDIR` points, if that cannot be written to), which goes when the gateway ends. All counters begin at zero then, which
  Prometheus knows how to read. A read-only root does no harm.
- **The number of series is bounded.** No label says what a client made up: see below. Series per key are shown with
  `metrics.key_labels = true` only, as many keys make many series: they are the limits of keys.
- **What the store knows is read when it is asked for**, within a second: limits, open calls, the cache. A store that does not
  answer is left out, not shown as zero.
- `in_flight` and `settlements_waiting` of other workers are a second old at most. Those of dead workers are gone.
- No series tells when it was created (`_created`).
"""


def page() -> str:
    """The page."""
    rows = [_row(metric) for metric in METRICS]
    labels = [f"| `{name}` | {said} |" for name, said in LABELS.items()]
    bounds = [
        f"- `{metric.name}`: {', '.join(f'{bound / metric.per:g}' for bound in metric.buckets)}"
        for metric in METRICS
        if metric.kind is Kind.HISTOGRAM
    ]
    parts = [
        _HEAD,
        "| metric | kind | labels | |\n|---|---|---|---|\n" + "\n".join(rows) + "\n",
        "## Labels\n\n| label | what it can say |\n|---|---|\n" + "\n".join(labels) + "\n",
        _RULES,
        "## Buckets\n\nUpper bounds of the histograms, in seconds:\n\n" + "\n".join(bounds) + "\n",
    ]
    return "\n".join(parts)


def _row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name}` | {metric.kind.value} | {labels} | {metric.help} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
