"""
Traces for an OTLP receiver: the only file that imports OpenTelemetry, and imported only where it is wanted.

Spans are handed to the SDK's own thread, which sends them in batches over HTTP. Where the receiver is slow or away, its
queue fills, and what does not fit is dropped. Whom to send to, how often and which part of all: the SDK reads the standard
variables (`OTEL_…`) itself. It is made in the process that serves, since its thread does not survive a fork.
"""

import asyncio
import logging
import threading
from contextlib import suppress
from typing import Final

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span as OtelSpan
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway import __version__
from gateway.core.spans import Kind, Span, Trace

FLUSH_S: Final = 5.0
"""What is held has to be taken in so long when the gateway stops."""

_KINDS: Final = {Kind.SERVER: SpanKind.SERVER, Kind.CLIENT: SpanKind.CLIENT, Kind.INTERNAL: SpanKind.INTERNAL}
_log = logging.getLogger("imagegate.traces")


class OtelTraces:
    """
    The `Traces` port.

    Args:
        flush_s: how long the end may take.
    """

    def __init__(self, *, flush_s: float = FLUSH_S) -> None:
        self._flush_s = flush_s
        # It quotes the header, which is the receiver's secret.
        logging.getLogger("opentelemetry.util.re").addFilter(_without_the_value)
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("imagegate", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def tell(self, trace: Trace) -> None:
        """Hand a trace to the SDK."""
        # Of nobody else's context: spans are made when their request is over.
        around = self._propagator.extract(trace.parent, context=Context())
        root = self._begin(trace.root, around)
        within = set_span_in_context(root, around)
        for stage in trace.stages:
            _end(self._begin(stage, within), stage)
        _end(root, trace.root)

    async def aclose(self) -> None:
        """Send what is held, as long as there is time."""
        loop, is_over = asyncio.get_running_loop(), asyncio.Event()

        def end() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # The loop has not waited.
                loop.call_soon_threadsafe(is_over.set)

        # One that nobody waits for at the end of the process, unlike an executor's.
        threading.Thread(target=end, name="traces", daemon=True).start()
        try:
            async with asyncio.timeout(self._flush_s):
                await is_over.wait()
        except TimeoutError:
            _log.warning("the last traces could not be sent in %g s, and are lost", self._flush_s)

    def _begin(self, span: Span, context: Context) -> OtelSpan:
        return self._tracer.start_span(
            span.name,
            context,
            _KINDS[span.kind],
            attributes=dict(span.attributes),
            start_time=span.began_ns,
        )


def _end(made: OtelSpan, span: Span) -> None:
    if span.fault is not None:
        made.set_status(Status(StatusCode.ERROR, span.fault))
    made.end(span.ended_ns)


def _resource() -> Resource:
    """Who we are, where the operator's variables do not say it."""
    ours = {SERVICE_NAME: "imagegate", SERVICE_VERSION: __version__}
    said = OTELResourceDetector().detect().attributes
    return Resource.create({name: value for name, value in ours.items() if name not in said})


def _without_the_value(record: logging.LogRecord) -> bool:
    record.msg = "a header for the OTLP receiver is not name=value, percent-encoded, and is left out"
    record.args = ()
    return True
