"""What a URL says about a broker: an address, a login, options of a connection.

The form is RabbitMQ's URI specification with its query parameters, and Pika's parameters beside
them. No text of an error here repeats anything of a URL that may be part of a password.
"""

from __future__ import annotations

import re
from collections.abc import Callable

TYPE_CHECKING = False  # typing is slow to import, and nothing but checkers needs it
if TYPE_CHECKING:
    from typing import Any

    Conversion = tuple[str, Callable[[str], Any]]

__all__ = ('BrokerURL', 'parse_url')

SCHEMES = ('amqp', 'amqps')
MECHANISMS = ('PLAIN', 'AMQPLAIN', 'EXTERNAL', 'GSSAPI')

# The values of ssl.CERT_NONE and ssl.CERT_REQUIRED: ssl is slow to import, and may be missing.
CERTIFICATE_DEMANDS = {'CERT_NONE': 0, 'CERT_OPTIONAL': 1, 'CERT_REQUIRED': 2}

#: The keys of Pika's ``ssl_options`` that `SSLTransport` takes.
SSL_OPTIONS = frozenset(
    {
        'ca_certs',
        'cert_reqs',
        'certfile',
        'check_hostname',
        'ciphers',
        'keyfile',
        'server_hostname',
        'ssl_version',
        'suppress_ragged_eofs',
    }
)

_HINT = "encode what is special in a user name or password: '/' as %2F, '?' as %3F, '#' as %23"


class BrokerURL:
    """A URL taken apart. Its text and its repr show the user's name, and no password.

    ``options`` are arguments for `Connection`. ``attempts`` and
    ``retry_delay`` are for `amqp.connect`; None where the URL doesn't say.
    """

    __slots__ = ('attempts', 'options', 'retry_delay', 'tls')

    def __init__(self, tls: bool, options: dict[str, Any]) -> None:
        self.tls = tls
        self.attempts: int | None = options.pop('connection_attempts', None)
        self.retry_delay: float | None = options.pop('retry_delay', None)
        self.options = options

    def __str__(self) -> str:
        from urllib.parse import quote

        scheme = 'amqps' if self.tls else 'amqp'
        user = quote(self.options['userid'], '') + '@' if 'userid' in self.options else ''
        vhost = self.options.get('virtual_host')
        path = '' if vhost is None else '/' + quote(vhost, '')
        return f'{scheme}://{user}{self.options["host"]}{path}'

    def __repr__(self) -> str:
        return f'<{type(self).__name__} {self}>'


def parse_url(url: str) -> BrokerURL:
    """Take ``amqp[s]://user:password@host:port/vhost?parameter=value&…`` apart.

    Without a path the virtual host is left to the default, ``/``. Behind the
    slash stands its name, percent-encoded: ``%2F`` is ``/``, and nothing at
    all is the host whose name is empty. Raises ValueError, which names the
    parameter at fault.
    """
    if not isinstance(url, str):
        raise TypeError(f'a URL is a str, not {type(url).__name__}')
    if re.search(r'[\x00-\x20\x7f]', url):
        raise ValueError('the URL has a space or a control character in it')
    scheme, separator, rest = url.partition('://')
    scheme = scheme.lower()
    if not separator or scheme not in SCHEMES:
        raise ValueError("the URL doesn't begin with amqp:// or amqps://")
    if '#' in rest:
        raise ValueError(f"the URL has a '#' in it; {_HINT}")
    rest, _, query = rest.partition('?')
    authority, slash, vhost = rest.partition('/')
    if '@' in vhost or '@' in query:
        raise ValueError(f"the URL has an '@' behind its host; {_HINT}, any other '@' as %40")
    options = _address(authority)
    if slash:
        # Encoded slashes are the rule; a bare one is not ambiguous either ('//' is /).
        options['virtual_host'] = _decoded(vhost, 'the virtual host')
    tls = scheme == 'amqps'
    options.update(_parameters(query, tls, 'userid' in options))
    return BrokerURL(tls, options)


def _decoded(text: str, what: str) -> str:
    if '%' not in text:
        return text
    if re.search('%(?![0-9A-Fa-f]{2})', text):
        raise ValueError(f"{what} has a '%' without two hexadecimal digits; '%' itself is %25")
    from urllib.parse import unquote_to_bytes

    try:
        return unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise ValueError(f'{what} is not percent-encoded UTF-8') from None


def _address(authority: str) -> dict[str, Any]:
    """User, password, host and port; what isn't there has no entry, but the host."""
    options: dict[str, Any] = {}
    login, at, location = authority.rpartition('@')
    if at:
        user, colon, password = login.partition(':')
        if user or colon:
            options['userid'] = _decoded(user, 'the user name')
        if colon:
            options['password'] = _decoded(password, 'the password')
    host, port = _split_port(location)
    options['host'] = f'{host or "localhost"}:{port}' if port else host or 'localhost'
    return options


def _split_port(location: str) -> tuple[str, int | None]:
    match = re.fullmatch(r'(\[[^\[\]@]+\]|[^:\[\]]*)(?::(.*))?', location)
    if match is None or (location.count(':') > 1 and location[0] != '['):
        raise ValueError(f'the host is malformed; an IPv6 address stands in brackets; {_HINT}')
    host, port = _decoded(match[1], 'the host'), match[2]
    if host[:1] != '[' and re.search(r'[\s:/?#\[\]@]', host):
        raise ValueError('the host is malformed')
    if not port:
        return host, None
    if not re.fullmatch('[0-9]{1,5}', port) or not 0 < int(port) < 65536:
        raise ValueError(f'the port is not a number within 1..65535; {_HINT}')
    return host, int(port)


# -- values of parameters: a message for the ValueError, without the parameter's name


def _whole(low: int, high: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not re.fullmatch('[0-9]{1,18}', text) or not low <= int(text) <= high:
            raise ValueError(f'{text!r} is not a whole number within {low}..{high}')
        return int(text)

    return convert


def _seconds(text: str) -> float:
    if not re.fullmatch(r'[0-9]+(\.[0-9]*)?|\.[0-9]+', text):
        raise ValueError(f'{text!r} is not a number of seconds')
    return float(text)


def _positive_seconds(text: str) -> float:
    seconds = _seconds(text)
    if not seconds:
        raise ValueError('it must be more than 0')
    return seconds


def _milliseconds(text: str) -> float:
    return _whole(1, 2**31)(text) / 1000


def _frame_max(text: str) -> int:
    frame_max = _whole(0, 2**32 - 1)(text)
    if 0 < frame_max < 4096:
        raise ValueError(f'{frame_max} is below the least, 4096')
    return frame_max


def _text(text: str) -> str:
    if not text:
        raise ValueError('it is empty')
    return text


def _mechanism(text: str) -> str:
    if text.upper() not in MECHANISMS:
        raise ValueError(f'{text!r} is not one of {", ".join(MECHANISMS)}')
    return text.upper()


def _verify(text: str) -> int:
    demands = {'verify_peer': 'CERT_REQUIRED', 'verify_none': 'CERT_NONE'}
    if text not in demands:
        raise ValueError(f'{text!r} is neither verify_peer nor verify_none')
    return CERTIFICATE_DEMANDS[demands[text]]


def _server_name(text: str) -> str:
    if text == 'disable':
        raise ValueError("the host's name is always sent here; give another name, or leave it out")
    return _text(text)


def _table(text: str) -> dict[str, Any]:
    """A dict, written as in Python or in JSON."""
    from ast import literal_eval

    try:
        value = literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = _json(text)
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ValueError('it is not a dict with names for keys')
    return value


def _json(text: str) -> Any:
    import json

    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _ssl_options(text: str) -> dict[str, Any]:
    options = _table(text)
    for key in options:
        if key not in SSL_OPTIONS:
            raise ValueError(f'{key!r} is not one of {", ".join(sorted(SSL_OPTIONS))}')
    demand = options.get('cert_reqs')
    if isinstance(demand, str):
        name = demand.removeprefix('ssl.')
        if name not in CERTIFICATE_DEMANDS:
            raise ValueError(f'cert_reqs {demand!r} is not one of {", ".join(CERTIFICATE_DEMANDS)}')
        options['cert_reqs'] = CERTIFICATE_DEMANDS[name]
    return options


#: Name -> argument of `Connection` (or of `amqp.connect`), and how its value is read.
PARAMETERS: dict[str, Conversion] = {
    # RabbitMQ's
    'auth_mechanism': ('login_method', _mechanism),
    'channel_max': ('channel_max', _whole(0, 65_535)),
    'connection_timeout': ('connect_timeout', _milliseconds),
    'heartbeat': ('heartbeat', _whole(0, 65_535)),
    # Pika's
    'blocked_connection_timeout': ('blocked_timeout', _positive_seconds),
    'client_properties': ('client_properties', _table),
    'connection_attempts': ('connection_attempts', _whole(1, 2**31)),
    'frame_max': ('frame_max', _frame_max),
    'locale': ('locale', _text),
    'retry_delay': ('retry_delay', _seconds),
    'socket_timeout': ('connect_timeout', _positive_seconds),
    'stack_timeout': ('connect_timeout', _positive_seconds),
    'tcp_options': ('socket_settings', _table),
}

#: Name -> key of the dict for ``ssl``: only for amqps.
TLS_PARAMETERS: dict[str, Conversion] = {
    'cacertfile': ('ca_certs', _text),
    'certfile': ('certfile', _text),
    'keyfile': ('keyfile', _text),
    'server_name_indication': ('server_hostname', _server_name),
    'ssl_options': ('ssl_options', _ssl_options),
    'verify': ('cert_reqs', _verify),
}


def _parameters(query: str, tls: bool, has_user: bool) -> dict[str, Any]:
    options: dict[str, Any] = {}
    tls_options: dict[str, Any] = {}
    mechanisms: list[str] = []
    seen: set[str] = set()
    for item in query.split('&') if query else ():
        name, value = _name_and_value(item)
        if name in seen and name != 'auth_mechanism':
            raise ValueError(f'parameter {name}: it is there twice')
        seen.add(name)
        if name in TLS_PARAMETERS and not tls:
            raise ValueError(f'parameter {name}: it needs a URL that begins with amqps://')
        argument, convert = PARAMETERS.get(name) or TLS_PARAMETERS[name]
        try:
            converted = convert(value)
        except ValueError as exc:
            raise ValueError(f'parameter {name}: {exc}') from None
        if name == 'auth_mechanism':
            mechanisms.append(converted)
        elif argument == 'connect_timeout':
            # Here one limit spans all that Pika's two do.
            options[argument] = max(converted, options.get(argument, 0))
        else:
            (tls_options if name in TLS_PARAMETERS else options)[argument] = converted
    if tls:
        options['ssl'] = _tls(tls_options)
        if has_user and not mechanisms and 'certfile' in tls_options:
            mechanisms = ['PLAIN', 'AMQPLAIN']  # the certificate is for TLS then
    if mechanisms:
        options['login_method'] = mechanisms[0] if len(mechanisms) == 1 else tuple(mechanisms)
    return options


def _name_and_value(item: str) -> tuple[str, str]:
    name, equals, value = item.partition('=')
    if not re.fullmatch('[A-Za-z_]+', name):
        raise ValueError('the name of a parameter is malformed')
    if name not in PARAMETERS and name not in TLS_PARAMETERS:
        raise ValueError(f'parameter {name}: there is no such parameter')
    if not equals:
        raise ValueError(f"parameter {name}: it has no value, as in '{name}=…'")
    return name, _decoded(value.replace('+', ' '), f'parameter {name}:')


def _tls(options: dict[str, Any]) -> bool | dict[str, Any]:
    """What to pass as ``ssl``: full verification unless it is called off."""
    pikas = options.pop('ssl_options', {})
    if not options and not pikas:
        return True
    options = {'cert_reqs': CERTIFICATE_DEMANDS['CERT_REQUIRED'], **options, **pikas}
    options.setdefault('check_hostname', options['cert_reqs'] != CERTIFICATE_DEMANDS['CERT_NONE'])
    return options
