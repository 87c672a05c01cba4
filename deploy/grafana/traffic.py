"""Traffic: what is asked for, what comes of it, what is given again, and what is refused."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import BYTES, COUNT, PER_SECOND, RATE, SHARE, dashboard, grown, lines, number

_REQUESTS = "imagegate_requests_total"
_SHARED, _HIT, _JOINED = '{cache=~"hit|miss|collapsed"}', '{cache="hit"}', '{cache="collapsed"}'
_REFUSED = '{outcome="refused"}'


def traffic() -> Dashboard:
    """The dashboard."""
    return dashboard(
        "imagegate-traffic",
        "Traffic",
        "What is asked for and what comes of it: requests, images, partial images, tokens; what is given again, what is "
        "refused, what is under way.",
        {
            "In this time": [
                number("Requests", "All of them.", grown(_REQUESTS), COUNT, decimals=0),
                number(
                    "Images paid for",
                    "Delivered by calls that went up.",
                    grown("imagegate_images_total"),
                    COUNT,
                    decimals=0,
                ),
                number(
                    "Hit ratio",
                    "Of the calls that the cache looked up, those that it answered.",
                    f"({grown(_REQUESTS, _HIT)} or vector(0)) / {grown(_REQUESTS, _SHARED)}",
                    SHARE,
                ),
                number(
                    "Refused",
                    "Of all requests, those that the gateway answered with an error of its own.",
                    f"({grown(_REQUESTS, _REFUSED)} or vector(0)) / {grown(_REQUESTS)}",
                    SHARE,
                ),
            ],
            "Requests": [
                lines(
                    "Requests by outcome",
                    "A second.",
                    {"{{outcome}}": f"sum by (outcome) (rate({_REQUESTS}{RATE}))"},
                    PER_SECOND,
                    stacked=True,
                ),
                lines(
                    "Requests by route",
                    "A second.",
                    {"{{route}}": f"sum by (route) (rate({_REQUESTS}{RATE}))"},
                    PER_SECOND,
                    stacked=True,
                ),
                lines(
                    "In flight",
                    "Requests, streams among them, followers of somebody else's call, calls whose client has left.",
                    {"{{kind}}": "sum by (kind) (imagegate_in_flight)"},
                    COUNT,
                ),
            ],
            "Pictures": [
                lines(
                    "Images by model",
                    "A second, of calls that were paid for.",
                    {"{{model}}": f"sum by (model) (rate(imagegate_images_total{RATE}))"},
                    PER_SECOND,
                    stacked=True,
                ),
                lines(
                    "Images by size and quality",
                    "A second, of calls that were paid for.",
                    {"{{size}} {{quality}}": f"sum by (size, quality) (rate(imagegate_images_total{RATE}))"},
                    PER_SECOND,
                    stacked=True,
                ),
                lines(
                    "Partial images by model",
                    "A second.",
                    {"{{model}}": f"sum by (model) (rate(imagegate_partial_images_total{RATE}))"},
                    PER_SECOND,
                    stacked=True,
                ),
                lines(
                    "Tokens by modality",
                    "A second; cached_input is a part of the input.",
                    {"{{kind}}": f"sum by (kind) (rate(imagegate_tokens_total{RATE}))"},
                    PER_SECOND,
                ),
            ],
            "Given again, and refused": [
                lines(
                    "Hit ratio",
                    "Of the calls that the cache looked up: answered by it, or by a call in the air.",
                    {
                        "hit": f"sum(rate({_REQUESTS}{_HIT}{RATE})) / sum(rate({_REQUESTS}{_SHARED}{RATE}))",
                        "joined": f"sum(rate({_REQUESTS}{_JOINED}{RATE}))"
                        f" / sum(rate({_REQUESTS}{_SHARED}{RATE}))",
                    },
                    SHARE,
                ),
                lines(
                    "Joined flights",
                    "Calls a second that got what another one was getting.",
                    {"joined": f"sum(rate({_REQUESTS}{_JOINED}{RATE}))"},
                    PER_SECOND,
                ),
                lines(
                    "Refusals by reason",
                    "A second, by error code and whose limit or permission it was.",
                    {
                        "{{reason}} ({{scope}})": f"sum by (reason, scope) (rate(imagegate_refusals_total{RATE}))"
                    },
                    PER_SECOND,
                    stacked=True,
                ),
            ],
            "The cache": [
                lines(
                    "Answers kept", "In the cache now.", {"entries": "max(imagegate_cache_entries)"}, COUNT
                ),
                lines(
                    "Room taken",
                    "What counts against cache.max_bytes.",
                    {"bytes": "max(imagegate_cache_bytes)"},
                    BYTES,
                ),
            ],
        },
    )
