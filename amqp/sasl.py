"""Authentication mechanisms, one class each (SASL, as AMQP 0-9-1 §4.2.2 uses it).

A mechanism has a name, the bytes ``mechanism``, and answers twice: ``start`` gives the first
response, or NotImplemented where it cannot be used here; ``respond`` answers a further challenge
of the broker.
Instances hold passwords and never show them in their repr.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from .exceptions import IrrecoverableConnectionError
from .serialization import _write_table
from .utils import str_to_bytes

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

__all__ = ('AMQPLAIN', 'EXTERNAL', 'GSSAPI', 'PLAIN', 'RAW', 'SASL')


class SASL:
    """Base of the mechanisms."""

    __slots__ = ()

    mechanism: bytes | None = None

    def start(self, connection: Any) -> Any:
        """Return the first response as bytes, or NotImplemented to let another one be tried."""
        raise NotImplementedError(f'{type(self).__name__} has no start()')

    def respond(self, challenge: bytes) -> bytes:
        """Return the answer to connection.secure."""
        name = (self.mechanism or b'?').decode('ascii', 'replace')
        raise IrrecoverableConnectionError(
            f'the broker sent a challenge, which SASL mechanism {name} has no answer to'
        )


class PLAIN(SASL):
    """User name and password in clear (RFC 4616): use it over TLS or a network you trust."""

    __slots__ = ('password', 'username')

    mechanism = b'PLAIN'

    def __init__(self, username: str | None, password: str | None) -> None:
        self.username = username
        self.password = password

    def start(self, connection: Any) -> Any:
        if self.username is None or self.password is None:
            return NotImplemented
        return b'\x00%b\x00%b' % (str_to_bytes(self.username), str_to_bytes(self.password))


class AMQPLAIN(SASL):
    """User name and password in clear, as a table: AMQP 0-8's own mechanism."""

    __slots__ = ('password', 'username')

    mechanism = b'AMQPLAIN'

    def __init__(self, username: str | None, password: str | None) -> None:
        self.username = username
        self.password = password

    def start(self, connection: Any) -> Any:
        if self.username is None or self.password is None:
            return NotImplemented
        parts: list[bytes] = []
        _write_table({'LOGIN': self.username, 'PASSWORD': self.password}, parts.append, [])
        # Without the table's length: the response is a long string and has its own.
        return b''.join(parts)[4:]


class EXTERNAL(SASL):
    """Whoever the TLS client certificate says we are."""

    __slots__ = ()

    mechanism = b'EXTERNAL'

    def start(self, connection: Any) -> bytes:
        return b''


class RAW(SASL):
    """Any mechanism whose whole response is known beforehand."""

    __slots__ = ('mechanism', 'response')

    def __init__(self, mechanism: bytes | str, response: bytes | str) -> None:
        if not all(isinstance(value, (bytes, str)) for value in (mechanism, response)):
            raise TypeError('mechanism and response must be bytes or str')
        self.mechanism = str_to_bytes(mechanism)
        self.response = str_to_bytes(response)

    def start(self, connection: Any) -> bytes:
        return self.response


class GSSAPI(SASL):
    """Kerberos (RFC 4752), by the package gssapi, which is imported when it is used.

    *client_name* chooses among the credentials there are. The broker's name is *service* at the
    connection's host, or, with *rdns*, at what its address resolves back to. With *fail_soft* a
    missing package or a failing GSSAPI lets another mechanism be tried.
    """

    __slots__ = ('_context', 'client_name', 'fail_soft', 'rdns', 'service')

    mechanism = b'GSSAPI'

    def __init__(
        self,
        client_name: str | bytes | None = None,
        service: str | bytes = b'amqp',
        rdns: bool = False,
        fail_soft: bool = False,
    ) -> None:
        if client_name is not None and not isinstance(client_name, bytes):
            client_name = client_name.encode('ascii')
        self.client_name = client_name
        self.service = str_to_bytes(service)
        self.rdns = rdns
        self.fail_soft = fail_soft
        self._context: Any = None

    def get_hostname(self, connection: Any) -> bytes:
        """Return the host to authenticate against."""
        import socket

        transport = connection.transport
        if self.rdns and transport.sock.family in (socket.AF_INET, socket.AF_INET6):
            return socket.gethostbyaddr(transport.sock.getpeername()[0])[0].encode('ascii')
        host: str = transport.host
        return host.encode('ascii')

    def start(self, connection: Any) -> Any:
        try:
            import gssapi
            from gssapi.raw.misc import GSSError  # the old python-gssapi has none
        except ImportError as exc:
            if self.fail_soft:
                return NotImplemented
            raise NotImplementedError(
                'SASL mechanism GSSAPI needs the package gssapi: install amqp[gssapi]'
            ) from exc
        try:
            target = self.service + b'@' + self.get_hostname(connection)
            name = gssapi.Name(target, gssapi.NameType.hostbased_service)
            own = gssapi.Name(self.client_name) if self.client_name else None
            self._context = gssapi.SecurityContext(
                name=name, creds=gssapi.Credentials(name=own, usage='initiate')
            )
            return self._context.step() or b''
        except GSSError:
            if self.fail_soft:
                return NotImplemented
            raise

    def respond(self, challenge: bytes) -> bytes:
        context = self._context
        if context is None:
            return super().respond(challenge)
        if not context.complete:
            return context.step(challenge) or b''
        # RFC 4752 §3.1: the offer of security layers; 1 asks for none, and so for no buffer.
        if not context.unwrap(challenge).message[:1]:
            return b''
        answer: bytes = context.wrap(b'\x01\x00\x00\x00', False).message
        return answer


def mechanisms_for(
    authentication: SASL | Iterable[SASL],
    login_method: str | Sequence[str] | None,
    login_response: bytes | None,
    userid: str,
    password: str,
    certificate: bool = False,
) -> tuple[SASL, ...]:
    """The mechanisms that a connection's arguments stand for, the preferred one first.

    Whoever shows a *certificate* means to log in by it; without one EXTERNAL
    comes last, for brokers that offer nothing else.
    """
    if isinstance(authentication, SASL):
        return (authentication,)
    if chosen := tuple(authentication):
        return chosen
    if login_method is None:
        by_password = (PLAIN(userid, password), AMQPLAIN(userid, password))
        rest = (EXTERNAL(), *by_password) if certificate else (*by_password, EXTERNAL())
        return (GSSAPI(userid, fail_soft=True), *rest)
    names = (login_method,) if isinstance(login_method, str) else tuple(login_method)
    if login_response is not None:
        return tuple(RAW(name.encode(), login_response) for name in names)
    makers: dict[str, Callable[[], SASL]] = {
        'GSSAPI': lambda: GSSAPI(userid),
        'EXTERNAL': EXTERNAL,
        'AMQPLAIN': lambda: AMQPLAIN(userid, password),
        'PLAIN': lambda: PLAIN(userid, password),
    }
    for name in names:
        if name not in makers:
            raise ValueError(f'login_method {name!r} is not one of {", ".join(makers)}')
    return tuple(makers[name]() for name in names)
