"""A server of AWS' Security Token Service: each request gets numbered keys, and is recorded."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl

_ANSWER = """\
<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result><Credentials>
<AccessKeyId>ASSUMED{number}</AccessKeyId><SecretAccessKey>secret-{number}</SecretAccessKey>
<SessionToken>token-{number}</SessionToken><Expiration>{expires}</Expiration>
</Credentials></{action}Result></{action}Response>"""


@dataclass
class StsServer:
    """A running server.

    Attributes:
        url: its address.
        lifetime: how long its keys are valid.
        requests: the arguments of each request, with the access key that signed it as ``signer``.
    """

    url: str
    lifetime: timedelta = timedelta(hours=1)
    requests: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def sts_server(certificate: Path | None = None) -> Iterator[StsServer]:
    """Runs a server on loopback.

    Args:
        certificate: a file of `make_certificate`; if given, the server speaks TLS.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked = dict(parse_qsl(body))
            _, _, credential = self.headers.get("Authorization", "").partition("Credential=")
            running.requests.append(asked | {"signer": credential.partition("/")[0]})
            answer = _ANSWER.format(
                action=asked["Action"],
                number=len(running.requests),
                expires=(datetime.now(UTC) + running.lifetime).strftime("%Y-%m-%dT%H:%M:%SZ"),
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/xml")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        scheme = "https" if certificate else "http"
        running = StsServer(f"{scheme}://127.0.0.1:{server.server_address[1]}")
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            # The handshake is made in the thread of the connection.
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield running
        server.shutdown()
