"""A TCP relay in front of a server: what lies between may fall silent, or die."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading

#: Closing sends a reset then.
AT_ONCE = struct.pack('ii', 1, 0)


class Relay:
    """Passes octets on between its port of 127.0.0.1 and a server, both ways, until told not to.

    One thread of its own does that, for all connections.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._listening = socket.create_server(('127.0.0.1', 0))
        self.port: int = self._listening.getsockname()[1]
        #: Where what comes is to go.
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._clients: set[socket.socket] = set()
        self._silent = threading.Event()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name='relay', daemon=True)
        self._thread.start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()
        self.kill(reset=False)
        self._listening.close()

    def fall_silent(self) -> None:
        """Pass on no more of what the server sends, on any connection."""
        self._silent.set()

    def kill(self, reset: bool) -> None:
        """End all connections, by a reset or by a close; then pass on what later ones send."""
        with self._lock:
            for sock in self._pairs:
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
                sock.close()
            self._pairs.clear()
            self._clients.clear()
            self._silent.clear()

    def _run(self) -> None:
        while not self._over.is_set():
            with self._lock:
                watched = [self._listening, *self._heard()]
            with contextlib.suppress(OSError, ValueError):  # some have been closed meanwhile
                ready, _, _ = select.select(watched, [], [], 0.01)
                with self._lock:
                    for sock in ready:
                        self._serve(sock)

    def _heard(self) -> list[socket.socket]:
        return list(self._clients if self._silent.is_set() else self._pairs)

    def _serve(self, sock: socket.socket) -> None:
        if sock is self._listening:
            client, _ = sock.accept()
            server = socket.create_connection(('127.0.0.1', self._target))
            self._pairs |= {client: server, server: client}
            self._clients.add(client)
        elif sock in self._pairs:
            data = sock.recv(65536)
            if data:
                self._pairs[sock].sendall(data)
            else:
                self._close(sock)

    def _close(self, sock: socket.socket) -> None:
        other = self._pairs.pop(sock)
        del self._pairs[other]
        self._clients -= {sock, other}
        sock.close()
        other.close()
