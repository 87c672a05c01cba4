"""
Two listeners, one server: the public one and the operator's.

Both sockets are served by the same uvicorn process and told apart by the port a connection came in on, so that
nothing of the operator's can be reached from outside, whatever the path.
"""

from starlette.types import ASGIApp, Receive, Scope, Send


class Listeners:
    """
    Sends each connection to the application of the listener it came in on.

    Args:
        public: what the world may ask.
        ops: what only the operator may ask; it also gets the lifespan.
        ops_port: the port of the operator's listener, as bound.

    Attributes:
        ops: may be another one from some request on; the lifespan stays with the first.
    """

    def __init__(self, public: ASGIApp, ops: ASGIApp, ops_port: int) -> None:
        self.ops = ops
        self._public = public
        self._ops_port = ops_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the connection to the application of its listener."""
        if scope["type"] == "lifespan":
            await self.ops(scope, receive, send)
            return
        server = scope.get("server")
        is_ops = server is not None and server[1] == self._ops_port
        await (self.ops if is_ops else self._public)(scope, receive, send)
