"""Where the page is served."""

import errno
import socket

from ..errors import UserError

__all__ = ["FIRST_PORT", "address", "free_port", "is_loopback"]

FIRST_PORT, TRIED = 7007, 100  # without a wish: the first of so many that is free


def free_port(host: str, port: int | None) -> int:
    """`port`, or without one the first from FIRST_PORT on that nobody has. Raises UserError where there is none."""
    for each in range(FIRST_PORT, FIRST_PORT + TRIED) if port is None else [port]:
        try:
            _bind(host, each)
            return each
        except OSError as error:
            if port is None and error.errno == errno.EADDRINUSE:
                continue
            raise UserError(_refusal(host, each, error)) from None
    raise UserError(f"the ports {FIRST_PORT} to {FIRST_PORT + TRIED - 1} of {host} are taken; choose another --port")


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach it."""
    return host in ("localhost", "::1") or host.startswith("127.")


def address(host: str, port: int) -> str:
    """What is typed into a browser; of all addresses of the machine that of loopback."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}"


def _bind(host: str, port: int):
    family, kind, _, _, place = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM,
                                                   flags=socket.AI_PASSIVE)[0]
    with socket.socket(family, kind) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: ports that were just closed
        probe.bind(place)
        probe.listen(1)


def _refusal(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken; choose another --port, or leave it out to get one that is free"
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine; use --host 127.0.0.1, or 0.0.0.0 for all that it has"
    return f"port {port} of {host} cannot be used: {(error.strerror or str(error)).lower()}; choose another --port"
