"""A stream of frames over TLS.

The ssl module is slow to import and may be missing: it is imported when a
connection asks for it.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Mapping

from .abstract_transport import Buffer, _AbstractTransport
from .addresses import AMQPS_PORT
from .deadline import Deadline
from .sending import WANT_WRITE
from .sockets import WANT_READ

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    import socket
    import ssl as ssl_module
    from typing import Any

__all__ = ('SSLTransport',)


class SSLTransport(_AbstractTransport):
    """A TLS stream.

    :param ssl: True for the defaults: the platform's authorities, the
        certificate required, the host's name checked; an ``ssl.SSLContext``;
        or a dict of options for `_wrap_socket_sni`, or, where it has a key
        ``context``, of options for `_wrap_context`.
    """

    default_port = AMQPS_PORT

    def __init__(
        self,
        host: str,
        connect_timeout: float | None = None,
        ssl: bool | Mapping[str, Any] | ssl_module.SSLContext | None = None,
        **kwargs: Any,
    ) -> None:
        self.sslopts: Any = ssl if ssl is not None else True
        # OpenSSL forbids reading and writing one session at the same time.
        # No call blocks while it holds this lock.
        self._session_lock = threading.Lock()
        self._write_begun = False
        super().__init__(host, connect_timeout=connect_timeout, **kwargs)
        self._is_layered = True

    def _setup_transport(self, deadline: Deadline) -> None:
        assert self.sock is not None
        sock = self._wrap_socket(self.sock)
        self.sock = sock
        while True:
            want = self._shake_hands(sock)
            if want == 0:
                return
            self._wait(want, deadline, "the TLS handshake didn't end in time")

    def _shake_hands(self, sock: ssl_module.SSLSocket) -> int:
        import ssl

        try:
            sock.do_handshake()
        except ssl.SSLWantReadError:
            return WANT_READ
        except ssl.SSLWantWriteError:
            return WANT_WRITE
        return 0

    def _wrap_socket(self, sock: socket.socket) -> ssl_module.SSLSocket:
        import ssl

        options = self.sslopts
        if isinstance(options, ssl.SSLContext):
            return _wrapped(options, sock, server_hostname=self.host)
        if not isinstance(options, Mapping) or not options:
            return _wrapped(ssl.create_default_context(), sock, server_hostname=self.host)
        options = dict(options)
        context = options.pop('context', None)
        if context is None:
            return self._wrap_socket_sni(sock, **options)
        if isinstance(context, ssl.SSLContext):
            options.setdefault('server_hostname', self.host)
            return _wrapped(context, sock, **options)
        return self._wrap_context(sock, options, **context)

    def _wrap_context(
        self,
        sock: socket.socket,
        sslopts: dict[str, Any],
        check_hostname: bool | None = None,
        **ctx_options: Any,
    ) -> ssl_module.SSLSocket:
        """Wrap the socket by ``ssl.create_default_context(**ctx_options)``.

        :param sslopts: arguments for ``SSLContext.wrap_socket``.
        :param check_hostname: whether to match the certificate with the
            host's name; by default not, as ever with this form.
        """
        import ssl

        context = ssl.create_default_context(**ctx_options)
        context.check_hostname = bool(check_hostname)
        sslopts.setdefault('server_hostname', self.host)
        return _wrapped(context, sock, **sslopts)

    def _wrap_socket_sni(
        self,
        sock: socket.socket,
        keyfile: str | None = None,
        certfile: str | None = None,
        server_side: bool = False,
        cert_reqs: ssl_module.VerifyMode | None = None,
        ca_certs: str | None = None,
        do_handshake_on_connect: bool = False,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | None = None,
        ciphers: str | None = None,
        ssl_version: int | None = None,
        tls_maximum_version: ssl_module.TLSVersion | None = None,
        tls_minimum_version: ssl_module.TLSVersion | None = None,
        check_hostname: bool | None = None,
    ) -> ssl_module.SSLSocket:
        """Wrap the socket by options one by one.

        The host's name is sent in the handshake (SNI) in any case. It is
        checked against the certificate if ``server_hostname`` or
        ``check_hostname`` is given. ``cert_reqs`` None: a certificate is
        required.
        """
        import ssl

        if ssl_version is None:
            ssl_version = ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT
        context = ssl.SSLContext(ssl_version)
        if tls_maximum_version is not None:
            context.maximum_version = tls_maximum_version
        if tls_minimum_version is not None:
            context.minimum_version = tls_minimum_version
        if certfile is not None:
            context.load_cert_chain(certfile, keyfile)
        if ca_certs is not None:
            context.load_verify_locations(ca_certs)
        if ciphers is not None:
            context.set_ciphers(ciphers)
        if check_hostname is None:
            # A name can't be matched with a certificate that isn't asked for.
            check_hostname = server_hostname is not None and cert_reqs != ssl.CERT_NONE
        context.check_hostname = check_hostname
        if cert_reqs is not None:
            context.verify_mode = cert_reqs
        if ca_certs is None and context.verify_mode != ssl.CERT_NONE:
            purpose = ssl.Purpose.CLIENT_AUTH if server_side else ssl.Purpose.SERVER_AUTH
            context.load_default_certs(purpose)
        return _wrapped(
            context,
            sock,
            server_side=server_side,
            suppress_ragged_eofs=suppress_ragged_eofs,
            server_hostname=None if server_side else server_hostname or self.host,
        )

    def _decrypted(self) -> int:
        sock: Any = self.sock
        return 0 if sock is None else sock.pending()

    def has_frame(self) -> bool:
        """As for TCP; what OpenSSL has decrypted counts too."""
        while not self._read_buffer.has_frame():
            if not self._decrypted():
                return False
            if self._receive():
                return False
        return True

    def _borrow_into(self, sock: socket.socket, space: memoryview) -> int:
        # What OpenSSL has decrypted can't be put back.
        return self._recv_into(sock, space)

    def _recv_into(self, sock: socket.socket, space: memoryview) -> int:
        import ssl

        try:
            with self._session_lock:
                return sock.recv_into(space)
        except ssl.SSLWantReadError:
            return WANT_READ
        except ssl.SSLWantWriteError:
            return WANT_WRITE
        except ValueError as exc:  # closed by another thread meanwhile
            raise ConnectionAbortedError(errno.ECONNABORTED, str(exc)) from exc

    def _send(self, sock: socket.socket, parts: list[Buffer]) -> int:
        import ssl

        try:
            with self._session_lock:
                count = sock.send(parts[0])
            self._write_begun = False
            return count
        except ssl.SSLWantReadError:
            self._write_begun = True
            return WANT_READ
        except ssl.SSLWantWriteError:
            self._write_begun = True
            return WANT_WRITE
        except ValueError as exc:
            raise ConnectionAbortedError(errno.ECONNABORTED, str(exc)) from exc

    def _holds_unsent(self) -> bool:
        """OpenSSL may hold part of the record that a write was encrypted into."""
        return self._write_begun


def _wrapped(
    context: ssl_module.SSLContext, sock: socket.socket, **options: Any
) -> ssl_module.SSLSocket:
    # The handshake follows under the deadline of the connection.
    options['do_handshake_on_connect'] = False
    return context.wrap_socket(sock, **options)
