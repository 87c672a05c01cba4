"""Money: what is spent, by whom, on what, how much of it is left, and what the cache saves."""

from grafana_foundation_sdk.builders.dashboard import Dashboard

from deploy.grafana.panels import (
    COUNT,
    RATE,
    SECONDS,
    SHARE,
    USD,
    bars,
    dashboard,
    grown,
    lines,
    number,
    spent,
)

_COST, _SAVED = "imagegate_cost_usd_total", "imagegate_saved_usd_total"
_BACK = "imagegate_cost_taken_back_usd_total"
_PARTIAL, _TOKENS = "imagegate_partial_image_tokens_total", 'imagegate_tokens_total{kind="output_image"}'
_USED = "imagegate_limit_used_ratio"
_BUDGETS, _OTHERS = '{limit=~"[$].*"}', '{limit!~"[$].*"}'
_LONG = '{limit=~"[$].* (per (day|week|month)|total)( soft)?"}'
"""Those that run out, and not within minutes again and again."""


def money() -> Dashboard:
    """The dashboard."""
    return dashboard(
        "imagegate-money",
        "Money",
        "What is spent, by whom and on what; how far budgets are used and when they run out; what the cache saves.",
        {
            "In this time": [
                number(
                    "Spent",
                    "What calls cost, without what late truth took back.",
                    f"{grown(_COST)} - ({grown(_BACK)} or vector(0))",
                    USD,
                ),
                number(
                    "Saved by the cache",
                    "What the originals of kept and joined answers cost.",
                    f"{grown(_SAVED)} or vector(0)",
                    USD,
                ),
                number(
                    "Surcharge share",
                    "Of all output image tokens, those that are surcharge for partial images.",
                    f"({grown(_PARTIAL)} or vector(0)) / {grown(_TOKENS)}",
                    SHARE,
                ),
                number(
                    "Calls at stand-in prices",
                    "Charged at the prices of a known model, as the catalogue does not know theirs: see the runbook.",
                    f"{grown('imagegate_stand_in_prices_total')} or vector(0)",
                    COUNT,
                    decimals=0,
                ),
            ],
            "Spend": [
                lines(
                    "Spend by team, per hour",
                    "US dollars an hour.",
                    {"{{team}}": spent("team")},
                    USD,
                    stacked=True,
                ),
                lines(
                    "Spend by model, per hour",
                    "US dollars an hour; `other`: models that the catalogue does not know.",
                    {"{{model}}": spent("model")},
                    USD,
                    stacked=True,
                ),
            ],
            "Budgets": [
                lines(
                    "Budgets used",
                    "Of each limit in dollars, the part that is used; above 1 is a debt.",
                    {"{{scope}}: {{limit}}": f"max by (scope, limit) ({_USED}{_BUDGETS})"},
                    SHARE,
                ),
                bars(
                    "Budgets run out in",
                    "At the pace of the last hour; 0: it is spent. Budgets that nobody uses now are left out; a calendar window "
                    "may end before.",
                    "{{scope}}: {{limit}}",
                    f"(max by (scope, limit) ({_USED}{_LONG}) >= 1) * 0"
                    f" or clamp_min(1 - max by (scope, limit) ({_USED}{_LONG}), 0)"
                    f" / (max by (scope, limit) (deriv({_USED}{_LONG}[1h])) > 0)",
                    SECONDS,
                ),
                lines(
                    "Other limits used",
                    "Images, tokens, requests, and calls at once.",
                    {"{{scope}}: {{limit}}": f"max by (scope, limit) ({_USED}{_OTHERS})"},
                    SHARE,
                ),
            ],
            "Cache and surcharge": [
                lines(
                    "Saved by the cache by team, per hour",
                    "US dollars an hour.",
                    {"{{team}}": f"sum by (team) (rate({_SAVED}{RATE})) * 3600"},
                    USD,
                    stacked=True,
                ),
                lines(
                    "Part of the bill that the cache saves",
                    "Saved, of what would have been spent without it.",
                    {
                        "saved": f"sum(rate({_SAVED}{RATE})) / (sum(rate({_SAVED}{RATE})) + sum(rate({_COST}{RATE}))"
                        f" - (sum(rate({_BACK}{RATE})) or vector(0)))"
                    },
                    SHARE,
                ),
                lines(
                    "Surcharge share by model",
                    "Of all output image tokens, those that are surcharge for partial images.",
                    {
                        "{{model}}": f"sum by (model) (rate({_PARTIAL}{RATE})) / (sum by (model) (rate({_TOKENS}{RATE})) > 0)"
                    },
                    SHARE,
                ),
            ],
        },
    )
