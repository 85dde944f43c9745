"""Connecting to the first of several brokers that lets us in, under one deadline."""

from __future__ import annotations

import logging
import socket
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from pamqp import commands

import amqp
from amqp import connecting
from t.helpers.peer import Peer, Wire
from t.helpers.threads import SOON

SECRET = 's3cret'


def url(host: str, path: str = '') -> str:
    return f'amqp://user:{SECRET}@{host}{path}'


@pytest.fixture
def peers() -> Iterator[Callable[..., Peer]]:
    """Make peers, each with a script for every connection, and end them."""
    with ExitStack() as stack:

        def make(script: Callable[[Wire], object] | None = None, **options: object) -> Peer:
            peer = stack.enter_context(Peer(**options))
            if script is None:
                peer.serve()
            else:
                peer.every(script)
            return peer

        yield make


@pytest.fixture
def connect() -> Iterator[Callable[..., amqp.Connection]]:
    """`amqp.connect`, whose connections are dropped in the end."""
    with ExitStack() as stack:

        def make(*args: object, **options: object) -> amqp.Connection:
            connection = amqp.connect(*args, **options)
            stack.callback(connection.collect)
            return connection

        yield make


def mute(wire: Wire) -> None:
    """Take the connection and say nothing."""
    wire.hold()


def hangs_up(wire: Wire) -> None:
    """Close the stream where the handshake should begin."""
    wire.next_bytes(8)
    wire.close()


def refuses(wire: Wire) -> None:
    """Turn the credentials down, as RabbitMQ does."""
    wire.next_bytes(8)
    start = commands.Connection.Start(0, 9, {'capabilities': {}}, 'PLAIN AMQPLAIN')
    wire.send(0, start)
    wire.expect(commands.Connection.StartOk)
    wire.send(0, commands.Connection.Close(403, 'ACCESS_REFUSED - wrong', 0, 0))
    wire.expect(commands.Connection.CloseOk)


def no_vhost(wire: Wire) -> None:
    wire.next_bytes(8)
    wire.send(0, commands.Connection.Start(0, 9, {'capabilities': {}}, 'PLAIN'))
    wire.expect(commands.Connection.StartOk)
    wire.send(0, commands.Connection.Tune(0, 131_072, 0))
    wire.expect(commands.Connection.TuneOk)
    wire.expect(commands.Connection.Open)
    wire.send(0, commands.Connection.Close(530, 'NOT_ALLOWED - vhost', 10, 40))
    wire.expect(commands.Connection.CloseOk)


@pytest.fixture
def dead() -> str:
    """An address where nobody listens."""
    with socket.create_server(('127.0.0.1', 0)) as listener:
        return f'127.0.0.1:{listener.getsockname()[1]}'


def where(peer: Peer | str, path: str = '') -> str:
    return f'amqp://user@{peer if isinstance(peer, str) else peer.host}{path}'


def test_it_is_the_function_of_the_package():
    assert amqp.connect is connecting.connect
    with pytest.raises(AttributeError, match='no_such_name'):
        amqp.no_such_name  # noqa: B018


def test_one_url(peers, connect):
    peer = peers()
    connection = connect(url(peer.host, '/v%2fw?heartbeat=30&locale=de_DE'))
    assert connection.is_alive()
    assert connection.host == peer.host
    assert connection.virtual_host == 'v/w'
    start_ok = peer.wire().seen(commands.Connection.StartOk)[0]
    assert start_ok.response.encode() == f'\0user\0{SECRET}'.encode()
    assert start_ok.locale == 'de_DE'
    assert peer.wire().seen(commands.Connection.Open)[0].virtual_host == 'v/w'
    assert connection.client_heartbeat == 30


@pytest.mark.parametrize(
    ('query', 'options', 'agreed'),
    [('', {}, 0), ('?heartbeat=30', {}, 30), ('', {'heartbeat': 20}, 20)],
)
def test_there_are_no_heartbeats_unless_asked_for(peers, connect, query, options, agreed):
    """Whatever the broker proposes; the keepalives of TCP are there in any case."""

    def welcome(wire: Wire) -> None:
        wire.handshake(heartbeat=60)
        wire.serve()

    peer = peers(welcome)
    connection = connect(url(peer.host, query and f'/{query}'), **options)
    assert connection.heartbeat == agreed
    assert peer.wire().seen(commands.Connection.TuneOk)[0].heartbeat == agreed
    assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


def test_options_take_the_place_of_the_urls(peers, connect):
    peer = peers()
    connection = connect(
        url(peer.host, '/v?heartbeat=30'), virtual_host='w', heartbeat=20, connection_name='mine'
    )
    assert connection.client_heartbeat == 20
    start_ok = peer.wire().seen(commands.Connection.StartOk)[0]
    assert start_ok.client_properties['connection_name'] == 'mine'
    assert peer.wire().seen(commands.Connection.Open)[0].virtual_host == 'w'


def test_it_is_a_context_manager(peers):
    peer = peers()
    with amqp.connect(url(peer.host)) as connection:
        assert connection.channel().is_open
    assert not connection.connected
    assert peer.wire().seen(commands.Connection.Close)
    assert len(peer.wires) == 1


@pytest.mark.parametrize('scripts', [(mute, hangs_up), (hangs_up, mute), (mute, mute)])
def test_dead_and_mute_brokers_leave_time_for_a_live_one(peers, connect, scripts):
    urls = [url(peers(script).host) for script in scripts]
    live = peers()
    began = time.monotonic()
    connection = connect([*urls, url(live.host)], timeout=3)
    assert time.monotonic() - began < 2.5  # two thirds, at most
    assert connection.host == live.host


def test_in_order(peers, connect):
    first, second = peers(), peers()
    assert connect([url(first.host), url(second.host)]).host == first.host
    assert not second.wires


def test_with_all_dead_each_cause_is_told(peers, dead):
    silent, rude = peers(mute), peers(hangs_up)
    urls = [url(host, '/v') for host in (dead, silent.host, rude.host)]
    with pytest.raises(amqp.ConnectFailed) as caught:
        amqp.connect(urls, timeout=1)
    error = caught.value
    assert [place for place, _ in error.causes] == [
        where(each, '/v') for each in (dead, silent, rude)
    ]
    refused, timed_out, closed = (cause for _, cause in error.causes)
    assert isinstance(refused, ConnectionRefusedError)
    assert isinstance(timed_out, TimeoutError)
    assert isinstance(closed, (OSError, amqp.RecoverableConnectionError))
    for place, cause in error.causes:
        assert f'{place}: {cause}' in str(error)
    assert str(error).startswith('no connection after 3 tries in ')
    assert error.__cause__ is closed


def test_the_error_is_one_to_connect_again_upon(dead):
    with pytest.raises(amqp.Connection.recoverable_connection_errors) as caught:
        amqp.connect(url(dead))
    # Not to be taken for an expired poll.
    assert not isinstance(caught.value, OSError)
    assert isinstance(caught.value, amqp.ConnectFailed)


def test_the_causes_hold_on_to_nothing(dead):
    with pytest.raises(amqp.ConnectFailed) as caught:
        amqp.connect(url(dead))
    assert all(cause.__traceback__ is None for _, cause in caught.value.causes)


def test_several_attempts(peers, connect):
    peer = peers()
    peer.script(hangs_up)
    peer.script(hangs_up)
    connection = connect(url(peer.host), attempts=3, retry_delay=0.01)
    assert connection.is_alive()
    assert len(peer.wires) == 3


def test_the_url_may_ask_for_attempts(peers, connect):
    peer = peers()
    peer.script(hangs_up)
    connect(url(peer.host, '?connection_attempts=2&retry_delay=0'))
    assert len(peer.wires) == 2


def test_what_is_met_again_is_told_once(dead):
    with pytest.raises(amqp.ConnectFailed) as caught:
        amqp.connect([url(dead), url(dead, '/v')], attempts=3, retry_delay=0)
    assert 'after 6 tries' in str(caught.value)
    assert str(caught.value).count('(3 times)') == 2
    assert len(caught.value.causes) == 2


def test_until_the_deadline(dead):
    began = time.monotonic()
    with pytest.raises(amqp.ConnectFailed) as caught:
        amqp.connect(url(dead), attempts=0, retry_delay=0.02, timeout=0.4)
    assert 0.3 < time.monotonic() - began < 0.6
    assert 'times)' in str(caught.value)


def test_a_mute_broker_is_left_in_time_for_the_next_round(peers, connect, monkeypatch):
    monkeypatch.setattr(connecting, 'LEAST_SHARE', 0.1)
    peer = peers()
    peer.script(mute)
    began = time.monotonic()
    connect(url(peer.host), attempts=2, retry_delay=0.01, timeout=1)
    assert time.monotonic() - began < 0.9


@pytest.mark.parametrize(
    ('timeout', 'urls', 'attempts', 'tries', 'share'),
    [
        (60, 1, 1, 0, 60),
        (60, 3, 1, 0, 20),
        (60, 3, 1, 2, 60),  # what the others have left
        (60, 1, 4, 0, 15),
        (60, 2, 2, 1, 20),
        (60, 1, 100, 0, 3),  # many rounds are no reason to hurry a broker that is far away
        (60, 2, 100, 0, 3),
        (4, 2, 100, 0, 2),  # other brokers are
        (60, 2, 0, 1, 60),  # without a number of rounds, each may take all
        (None, 2, 2, 0, None),
    ],
)
def test_the_share_of_a_try(monkeypatch, timeout, urls, attempts, tries, share):
    monkeypatch.setattr(connecting.time, 'monotonic', lambda: 0.0)
    shares = []

    def try_url(search, broker, share):
        shares.append(share)
        return 'connected' if len(shares) > tries else None

    monkeypatch.setattr(connecting._Search, '_try_url', try_url)
    amqp.connect(['amqp://h'] * urls, timeout=timeout, attempts=attempts)
    assert shares[-1] == share


def test_a_try_takes_no_longer_than_connect_timeout(peers, connect):
    peer = peers()
    peer.script(mute)
    began = time.monotonic()
    connect(url(peer.host, '?connection_timeout=200'), attempts=2, retry_delay=0, timeout=SOON)
    assert time.monotonic() - began < 2
    peer.script(mute)
    connect(url(peer.host), connect_timeout=0.2, attempts=2, retry_delay=0, timeout=None)


def test_the_pause_is_random_about_its_length(dead, monkeypatch):
    slept = []
    monkeypatch.setattr(connecting.time, 'sleep', slept.append)
    with pytest.raises(amqp.ConnectFailed):
        amqp.connect(url(dead), attempts=200, retry_delay=2)
    assert len(slept) == 199
    assert all(1 <= pause <= 3 for pause in slept)
    assert min(slept) < 1.2
    assert max(slept) > 2.8


def test_no_pause_is_begun_that_would_outlast_the_deadline(dead, monkeypatch):
    monkeypatch.setattr(connecting.time, 'sleep', None)
    with pytest.raises(amqp.ConnectFailed, match='after 1 tries'):
        amqp.connect(url(dead), attempts=5, retry_delay=10, timeout=5)


def test_shuffled(peers, connect):
    several = [peers() for _ in range(3)]
    urls = [url(peer.host) for peer in several]
    found = {connect(urls, shuffle=True).host for _ in range(60)}
    assert found == {peer.host for peer in several}


def names(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    """Have every name stand for these addresses."""

    def getaddrinfo(host: str, port: int, *args: object) -> list[object]:
        if args[-1] & socket.AI_NUMERICHOST:
            raise socket.gaierror('a name')
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, '', address)
            for address in addresses
        ]

    monkeypatch.setattr(socket, 'getaddrinfo', getaddrinfo)


@pytest.mark.parametrize('script', [mute, hangs_up, no_vhost])
def test_each_address_of_a_name_is_tried_through_the_handshake(peers, connect, monkeypatch, script):
    bad, good = peers(script, address='127.0.0.2'), peers()
    names(monkeypatch, (bad.address, bad.port), (good.address, good.port))
    connection = connect(url('rabbit.example'), timeout=2)
    assert connection.host == 'rabbit.example'
    assert connection.sock.getpeername() == (good.address, good.port)


def test_addresses_are_told_and_shuffled(peers, connect, monkeypatch):
    bad, worse = peers(mute, address='127.0.0.2'), peers(hangs_up)
    names(monkeypatch, (bad.address, bad.port), (worse.address, worse.port))
    with pytest.raises(amqp.ConnectFailed) as caught:
        amqp.connect(url('rabbit.example'), timeout=0.5)
    assert [place for place, _ in caught.value.causes] == [
        'amqp://user@rabbit.example at 127.0.0.2',
        'amqp://user@rabbit.example at 127.0.0.1',
    ]
    good = [peers(), peers(address='127.0.0.2')]
    names(monkeypatch, *((peer.address, peer.port) for peer in good))
    found = {connect(url('rabbit'), shuffle=True).sock.getpeername()[0] for _ in range(60)}
    assert found == {'127.0.0.1', '127.0.0.2'}


def test_a_name_that_does_not_exist(peers, connect, monkeypatch):
    def getaddrinfo(host: str, *args: object) -> list[object]:
        if host == 'nowhere.invalid':
            raise socket.gaierror(socket.EAI_NONAME, 'Name or service not known')
        return looked_up(host, *args)

    looked_up = socket.getaddrinfo
    monkeypatch.setattr(socket, 'getaddrinfo', getaddrinfo)
    live = peers()
    assert connect([url('nowhere.invalid'), url(live.host)]).host == live.host
    with pytest.raises(amqp.ConnectFailed, match=r'nowhere\.invalid: .*Name or service'):
        amqp.connect(url('nowhere.invalid'))


def test_refused_credentials_stop_the_trying(peers):
    strict, live = peers(refuses), peers()
    with pytest.raises(amqp.AccessRefused, match='ACCESS_REFUSED - wrong'):
        amqp.connect([url(strict.host), url(live.host)], attempts=3, retry_delay=0)
    assert len(strict.wires) == 1
    assert not live.wires


def test_other_refusals_do_not(peers, connect, dead):
    picky, live = peers(no_vhost), peers()
    assert connect([url(picky.host), url(live.host)]).host == live.host
    with pytest.raises(amqp.ConnectFailed, match='NOT_ALLOWED - vhost') as caught:
        amqp.connect(url(picky.host))
    assert isinstance(caught.value.__cause__, amqp.NotAllowed)


def test_what_was_not_tried_is_told(peers, monkeypatch):
    """A look-up that takes all the time, of a resolver that knows no deadline."""
    silent = peers(mute)
    urls = [url(silent.host, '/a'), url(silent.host, '/ab')]
    clock = iter([0.0] * 8)
    monkeypatch.setattr(connecting.time, 'monotonic', lambda: next(clock, 100.0))
    with pytest.raises(amqp.ConnectFailed) as caught:
        amqp.connect(urls, timeout=0.2)
    assert f'{where(silent, "/ab")}: not tried, for want of time' in str(caught.value)
    assert f'{where(silent, "/a")}: not tried' not in str(caught.value)


def test_a_mistake_of_the_caller_is_raised_at_once(peers):
    peer = peers()
    with pytest.raises(amqp.EncodeError, match='product'):
        amqp.connect(
            [url(peer.host)] * 2, client_properties={'product': object()}, attempts=3, retry_delay=0
        )
    assert len(peer.wires) == 1
    peer.wires[0].finished.wait(SOON)
    peer.wires[0].error = None


@pytest.mark.parametrize(
    ('urls', 'options', 'text'),
    [
        ([], {}, 'no URL'),
        (['amqp://h', 'amqp://h?x=1'], {}, 'parameter x'),
        ('amqp://h', {'attempts': -1}, 'negative'),
        ('amqp://h', {'retry_delay': -1}, 'negative'),
        ('amqp://h', {'frame_max': 5}, 'frame_max'),
        ('amqp://h', {'host': 'h:0'}, 'port'),
    ],
)
def test_bad_arguments(monkeypatch, urls, options, text):
    names(monkeypatch, ('127.0.0.1', 1))
    with pytest.raises(ValueError, match=text):
        amqp.connect(urls, **options)


def test_an_error_of_a_callback_leaves_nothing_open(peers):
    peer = peers()

    def on_open(connection: amqp.Connection) -> None:
        raise KeyError('mine')

    with pytest.raises(KeyError, match='mine'):
        amqp.connect(url(peer.host), on_open=on_open)
    assert peer.wire().ended.wait(SOON)


def test_nothing_tells_the_password(peers, dead, caplog):
    caplog.set_level(logging.DEBUG)
    silent = peers(mute)
    urls = [url(dead), url(silent.host), url(peers(no_vhost).host)]
    with pytest.raises(amqp.ConnectFailed) as caught:
        amqp.connect(urls, timeout=0.5, attempts=2, retry_delay=0)
    with pytest.raises(amqp.AccessRefused) as refused:
        amqp.connect(url(peers(refuses).host))
    with amqp.connect(url(peers().host)) as connection:
        shown = [repr(connection), str(vars(connection)), repr(connection.transport)]
    shown += traceback.format_exception(caught.value) + traceback.format_exception(refused.value)
    shown += [repr(caught.value), repr(caught.value.causes), caplog.text]
    assert caplog.text
    assert all(SECRET not in text for text in shown)
