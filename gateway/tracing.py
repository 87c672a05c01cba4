"""Whether requests are traced, and by whom: app.py's hand in everything about traces."""

import logging

from gateway.ports import Traces
from gateway.settings.sources import wants_traces

_log = logging.getLogger("imagegate.traces")


def traces_of_process() -> Traces | None:
    """
    Who takes the traces of this process, to be asked for once, in the process that serves.

    Returns:
        None: nobody. Then nothing of OpenTelemetry is imported, and no request is watched.
    """
    if not wants_traces() or not is_installed():
        return None
    from gateway.adapters.otel import OtelTraces  # noqa: PLC0415 - an extra that not everybody has

    try:
        return OtelTraces()
    except (ValueError, OSError) as error:
        # A worker that ended of it would be started again and again; requests do not need traces.
        _log.error(
            "no traces are sent, for OpenTelemetry cannot use one of its variables (OTEL_…): %s", error
        )
        return None


def warn_if_missing() -> None:
    """Tell the log where traces are wanted that nobody can take."""
    if wants_traces() and not is_installed():
        _log.warning(
            "the environment names an OTLP receiver, but traces need OpenTelemetry, which is not installed: install "
            "imagegate[otel], or unset OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_TRACES_ENDPOINT."
        )


def is_installed() -> bool:
    """Whether the extra is there."""
    try:
        import gateway.adapters.otel  # noqa: F401, PLC0415 - likewise
    except ImportError:
        return False
    return True
