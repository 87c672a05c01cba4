"""Health: what the gateway itself costs in time, how the upstream and the store do, and what is not settled yet."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import (
    BYTES,
    COUNT,
    PER_SECOND,
    RATE,
    SECONDS,
    SHARE,
    dashboard,
    grown,
    lines,
    number,
    quantiles,
)

_UPSTREAM = "imagegate_upstream_requests_total"
_ERRORS = '{status=~"5..|none|other"}'
_REQUESTS, _CUT = "imagegate_requests_total", '{outcome="upstream_cut"}'


def health() -> Dashboard:
    """The dashboard."""
    return dashboard(
        "imagegate-health",
        "Health",
        "What the gateway itself costs in time, how the upstream and the store do, and what is not settled yet.",
        {
            "Now": [
                number(
                    "Gateways",
                    "That run, by version.",
                    "count by (version) (imagegate_build_info)",
                    COUNT,
                    0,
                    "{{version}}",
                ),
                number(
                    "Open reservations",
                    "Calls that are noted in the ledger and have no record yet.",
                    "max(imagegate_reservations_open)",
                    COUNT,
                    0,
                ),
                number(
                    "Settlements waiting",
                    "Kept until the store takes them.",
                    "sum(imagegate_settlements_waiting)",
                    COUNT,
                    0,
                ),
                number(
                    "Upstream errors",
                    "Of all requests that went up: answered with 500 and above, not at all, or not to the end.",
                    f"(({grown(_UPSTREAM, _ERRORS)} or vector(0)) + ({grown(_REQUESTS, _CUT)} or vector(0)))"
                    f" / {grown(_UPSTREAM)}",
                    SHARE,
                ),
            ],
            "The gateway": [
                lines(
                    "Overhead",
                    "Until the head of an answer went out, without the wait for the upstream's.",
                    quantiles("imagegate_overhead_seconds", "cache"),
                    SECONDS,
                ),
                lines(
                    "First byte",
                    "Until the head of an answer went out.",
                    quantiles("imagegate_first_byte_seconds", kept=(0.5, 0.9, 0.99)),
                    SECONDS,
                ),
                lines(
                    "Whole requests",
                    "From the head of the request to the last byte of its answer.",
                    quantiles("imagegate_request_duration_seconds", "route", kept=(0.9,)),
                    SECONDS,
                ),
            ],
            "The upstream": [
                lines(
                    "Upstream latency",
                    "Until the head of its answer was there.",
                    quantiles("imagegate_upstream_duration_seconds", "route"),
                    SECONDS,
                ),
                lines(
                    "Upstream answers by status",
                    "A second; none: there was no answer.",
                    {"{{status}}": f"sum by (status) (rate({_UPSTREAM}{RATE}))"},
                    PER_SECOND,
                    stacked=True,
                ),
                lines(
                    "Upstream errors",
                    "Of the requests that went up, by route: answered with 500 and above, not at all, or not to the end.",
                    {
                        "{{route}}": f"sum by (route) (rate({_UPSTREAM}{_ERRORS}{RATE}) or rate({_REQUESTS}{_CUT}{RATE}))"
                        f" / sum by (route) (rate({_UPSTREAM}{RATE}))"
                    },
                    SHARE,
                ),
            ],
            "The store": [
                lines(
                    "Store latency",
                    "99 of 100 acts take no longer.",
                    quantiles("imagegate_store_duration_seconds", "op", kept=(0.99,)),
                    SECONDS,
                ),
                lines(
                    "Store errors",
                    "Acts a second that failed, or that nobody waited for any longer.",
                    {"{{op}}": f"sum by (op) (rate(imagegate_store_errors_total{RATE}))"},
                    PER_SECOND,
                ),
                lines(
                    "Open reservations and settlements",
                    "Calls without a record, and records that the store has not taken yet.",
                    {
                        "open reservations": "max(imagegate_reservations_open)",
                        "settlements waiting": "sum(imagegate_settlements_waiting)",
                    },
                    COUNT,
                ),
                lines(
                    "Ledger rows by source",
                    "Records a second, by where their token counts come from.",
                    {"{{tokens_from}}": f"sum by (tokens_from) (rate(imagegate_ledger_records_total{RATE}))"},
                    PER_SECOND,
                    stacked=True,
                ),
            ],
            "The processes": [
                lines(
                    "CPU",
                    "Cores in use, of all processes of a gateway.",
                    {
                        "{{instance}}": f"rate(process_cpu_seconds_total{RATE})"
                        " and on (instance, job) imagegate_build_info"
                    },
                    COUNT,
                ),
                lines(
                    "Memory",
                    "Resident, of all processes of a gateway.",
                    {
                        "{{instance}}": "process_resident_memory_bytes and on (instance, job) imagegate_build_info"
                    },
                    BYTES,
                ),
                lines(
                    "File descriptors",
                    "Open, of all processes of a gateway.",
                    {"{{instance}}": "process_open_fds and on (instance, job) imagegate_build_info"},
                    COUNT,
                ),
            ],
        },
    )
