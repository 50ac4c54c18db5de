"""Stand-ins for the Python peers that this package has to live with: `SocketClient` and `SocketServer`.

They keep the interface of the deployed Python module and, on purpose, its habits too, because those are
what a peer has to be tested against: the server handles the frames of a connection strictly one after
another and so answers heartbeats late, a client leaves sockets open behind it, failures of every kind
come back as None, and so on. Each habit is marked where it lives. Do not copy this file into an
application; `sample/02-python-peer/peer.py` is meant for that.

Arguments after the `*` of a constructor are not part of the original interface. They shorten the times
which are fixed there, so that tests need not wait for a minute.
"""

from reference_client import BackoffStrategy, HealthChecker, SocketClient
from reference_server import SocketServer, request

__all__ = ["BackoffStrategy", "HealthChecker", "SocketClient", "SocketServer", "request"]
