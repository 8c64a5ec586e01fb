"""A TCP proxy that stops forwarding on command: it accepts everything and answers nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class SilentProxy:
    """Forwards connections from a port of its own to another one.

    Attributes:
        target: host and port of the server.
        port: the proxy's own.
        silent: while set, nothing is forwarded in either direction; connections stay open.
    """

    target: tuple[str, int]
    port: int = 0
    silent: threading.Event = field(default_factory=threading.Event)
    _sockets: list[socket.socket] = field(default_factory=list)

    def serve(self, listener: socket.socket) -> None:
        """Accepts connections until the listener is closed."""
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self.target)
                self._sockets += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                if not self.silent.is_set():
                    sink.sendall(data)
        # The end of a connection is passed on even now, as the kernels of both sides would.
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def silence(self) -> Iterator[None]:
        """Forwards nothing inside."""
        self.silent.set()
        yield
        self.silent.clear()

    def close(self) -> None:
        """Ends all connections."""
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


@contextmanager
def silent_proxy(host: str, port: int) -> Iterator[SilentProxy]:
    """Runs a proxy in front of a server of this machine."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = SilentProxy((host, port), listener.getsockname()[1])
        thread = threading.Thread(target=proxy.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            # Closing alone does not wake a thread that waits in accept.
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            proxy.close()
