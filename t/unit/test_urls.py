"""URLs of brokers, by RabbitMQ's specification and with Pika's parameters."""

from __future__ import annotations

import json
import traceback
from urllib.parse import quote, urlencode

import pytest

from amqp.urls import PARAMETERS, TLS_PARAMETERS, BrokerURL, parse_url


@pytest.mark.parametrize(
    ('url', 'expected'),
    [
        # The examples of RabbitMQ's URI specification.
        (
            'amqp://user:pass@host:10000/vhost',
            ('user', 'pass', 'host:10000', 'vhost'),
        ),
        (
            'amqp://user%61:%61pass@ho%61st:10000/v%2fhost',
            ('usera', 'apass', 'hoast:10000', 'v/host'),
        ),
        ('amqp://', (None, None, 'localhost', None)),
        ('amqp://:@/', ('', '', 'localhost', '')),
        ('amqp://user@', ('user', None, 'localhost', None)),
        ('amqp://user:pass@', ('user', 'pass', 'localhost', None)),
        ('amqp://host', (None, None, 'host', None)),
        ('amqp://:10000', (None, None, 'localhost:10000', None)),
        ('amqp:///vhost', (None, None, 'localhost', 'vhost')),
        ('amqp://host/', (None, None, 'host', '')),
        ('amqp://host/%2f', (None, None, 'host', '/')),
        ('amqp://[::1]', (None, None, '[::1]', None)),
        # Pika's examples.
        ('amqp://guest:guest@localhost:5672/%2F', ('guest', 'guest', 'localhost:5672', '/')),
        (
            'amqp://www-data:rabbit_pwd@rabbit1/web_messages',
            ('www-data', 'rabbit_pwd', 'rabbit1', 'web_messages'),
        ),
        # What else comes along.
        ('AMQP://Host', (None, None, 'Host', None)),
        ('amqp://host//', (None, None, 'host', '/')),
        ('amqp://host/a/b', (None, None, 'host', 'a/b')),
        ('amqp://host:/v', (None, None, 'host', 'v')),
        ('amqp://@host', (None, None, 'host', None)),
        ('amqp://[::1]:5673/v', (None, None, '[::1]:5673', 'v')),
        ('amqp://u:p@[fe80::1%25eth0]:5673', ('u', 'p', '[fe80::1%eth0]:5673', None)),
        ('amqp://10.0.0.1:1/', (None, None, '10.0.0.1:1', '')),
        ('amqp://host:65535', (None, None, 'host:65535', None)),
        ('amqp://%C3%A9:%E2%82%AC@host/%C3%BC', ('é', '€', 'host', 'ü')),
        ('amqp://é:€@host/ü', ('é', '€', 'host', 'ü')),
        ('amqp://user@example.org:p@host', ('user@example.org', 'p', 'host', None)),
        ('amqp://u:a:b@host', ('u', 'a:b', 'host', None)),
        ('amqp://u:a+b@host/c+d', ('u', 'a+b', 'host', 'c+d')),
        ('amqp://u:%2F%3F%23%40%3A%25@host', ('u', '/?#@:%', 'host', None)),
        ('amqp://host?', (None, None, 'host', None)),
    ],
)
def test_address_and_login(url, expected):
    options = parse_url(url).options
    found = tuple(map(options.get, ('userid', 'password', 'host', 'virtual_host')))
    assert found == expected
    # Absent is not empty: it is left to the defaults of Connection.
    assert None not in options.values()


@pytest.mark.parametrize(
    ('query', 'expected'),
    [
        ('heartbeat=30', {'heartbeat': 30}),
        ('heartbeat=0', {'heartbeat': 0}),
        ('connection_timeout=1500', {'connect_timeout': 1.5}),
        ('channel_max=0', {'channel_max': 0}),
        ('channel_max=2047', {'channel_max': 2047}),
        ('auth_mechanism=plain', {'login_method': 'PLAIN'}),
        ('auth_mechanism=EXTERNAL', {'login_method': 'EXTERNAL'}),
        (
            'auth_mechanism=external&auth_mechanism=amqplain',
            {'login_method': ('EXTERNAL', 'AMQPLAIN')},
        ),
        ('blocked_connection_timeout=2.5', {'blocked_timeout': 2.5}),
        ('frame_max=4096', {'frame_max': 4096}),
        ('frame_max=0', {'frame_max': 0}),
        ('locale=pt_BR', {'locale': 'pt_BR'}),
        ('socket_timeout=.25', {'connect_timeout': 0.25}),
        ('stack_timeout=15', {'connect_timeout': 15}),
        ('socket_timeout=10&stack_timeout=15', {'connect_timeout': 15}),
        ('stack_timeout=15&connection_timeout=20000&socket_timeout=1', {'connect_timeout': 20}),
        (
            'client_properties=' + quote("{'team': 'a b', 'n': {'m': [1]}}"),
            {'client_properties': {'team': 'a b', 'n': {'m': [1]}}},
        ),
        (
            'client_properties=' + quote(json.dumps({'on': True, 'off': None})),
            {'client_properties': {'on': True, 'off': None}},
        ),
        (
            urlencode({'tcp_options': {'TCP_KEEPIDLE': 60}}),
            {'socket_settings': {'TCP_KEEPIDLE': 60}},
        ),
        ('heartbeat=3%30&locale=de_DE', {'heartbeat': 30, 'locale': 'de_DE'}),
    ],
)
def test_parameters(query, expected):
    assert parse_url(f'amqp://?{query}').options == {'host': 'localhost', **expected}
    assert parse_url(f'amqp://host/v?{query}').options == {
        'host': 'host',
        'virtual_host': 'v',
        **expected,
    }


def test_parameters_of_the_trying():
    url = parse_url('amqp://h?connection_attempts=3&retry_delay=0.5')
    assert (url.attempts, url.retry_delay) == (3, 0.5)
    assert url.options == {'host': 'h'}
    url = parse_url('amqp://h')
    assert (url.attempts, url.retry_delay) == (None, None)


PIKAS_EXAMPLE = (
    'ssl_options=%7B%27keyfile%27%3A+%27%2Fetc%2Fssl%2Fmykey.pem%27%2C+'
    '%27certfile%27%3A+%27%2Fetc%2Fssl%2Fmycert.pem%27%7D'
)
FULL = {'cert_reqs': 2, 'check_hostname': True}


@pytest.mark.parametrize(
    ('query', 'expected'),
    [
        ('', True),
        ('heartbeat=5', True),
        ('verify=verify_peer', FULL),
        ('verify=verify_none', {'cert_reqs': 0, 'check_hostname': False}),
        ('cacertfile=/a%20b/ca.pem', {**FULL, 'ca_certs': '/a b/ca.pem'}),
        (
            'server_name_indication=rabbit.example.org',
            {**FULL, 'server_hostname': 'rabbit.example.org'},
        ),
        (
            'certfile=c.pem&keyfile=k.pem&cacertfile=ca.pem',
            {**FULL, 'certfile': 'c.pem', 'keyfile': 'k.pem', 'ca_certs': 'ca.pem'},
        ),
        # Pika's example, as it stands there.
        (
            'heartbeat=30&' + PIKAS_EXAMPLE,
            {**FULL, 'keyfile': '/etc/ssl/mykey.pem', 'certfile': '/etc/ssl/mycert.pem'},
        ),
        (
            urlencode({'ssl_options': {'cert_reqs': 'ssl.CERT_NONE'}}),
            {'cert_reqs': 0, 'check_hostname': False},
        ),
        (
            urlencode({'ssl_options': {'cert_reqs': 1, 'check_hostname': False}}),
            {'cert_reqs': 1, 'check_hostname': False},
        ),
        ('ssl_options={}', True),
    ],
)
def test_tls(query, expected):
    assert parse_url(f'amqps://host?{query}').options['ssl'] == expected


def test_the_default_port_is_left_to_the_transport():
    assert parse_url('amqps://host').options == {'host': 'host', 'ssl': True}
    assert 'ssl' not in parse_url('amqp://host').options


@pytest.mark.parametrize(
    ('url', 'login_method'),
    [
        ('amqps://h?certfile=c', None),  # EXTERNAL, if it is offered
        ('amqps://u:p@h?certfile=c', ('PLAIN', 'AMQPLAIN')),
        ('amqps://u:p@h?certfile=c&auth_mechanism=external', 'EXTERNAL'),
        ('amqps://u:p@h', None),
    ],
)
def test_a_user_name_in_the_url_is_used(url, login_method):
    assert parse_url(url).options.get('login_method') == login_method


@pytest.mark.parametrize(
    ('query', 'named'),
    [
        ('hartbeat=1', 'hartbeat: there is no such'),
        ('backpressure_detection=t', 'backpressure_detection: there is no such'),
        ('heartbeat', 'heartbeat: it has no value'),
        ('heartbeat=1&heartbeat=1', 'heartbeat: it is there twice'),
        ('heartbeat=', "heartbeat: '' is not a whole"),
        ('heartbeat=-1', "heartbeat: '-1'"),
        ('heartbeat=1.5', "heartbeat: '1.5'"),
        ('heartbeat=1_0', "heartbeat: '1_0'"),
        ('heartbeat=65536', "heartbeat: '65536'"),
        ('heartbeat=%D9%A3', 'heartbeat'),  # a digit, though not of ours
        ('heartbeat=%', "heartbeat: has a '%'"),
        ('heartbeat=%ff', 'heartbeat: is not percent-encoded UTF-8'),
        ('connection_timeout=0', "connection_timeout: '0'"),
        ('connection_timeout=infinity', 'connection_timeout'),
        ('channel_max=65536', 'channel_max'),
        ('auth_mechanism=rabbit-cr-demo', "auth_mechanism: 'rabbit-cr-demo'"),
        ('connection_attempts=0', 'connection_attempts'),
        ('retry_delay=-1', 'retry_delay'),
        ('retry_delay=nan', 'retry_delay'),
        ('socket_timeout=0', 'socket_timeout'),
        ('stack_timeout=1e3', 'stack_timeout'),
        ('blocked_connection_timeout=inf', 'blocked_connection_timeout'),
        ('frame_max=100', 'frame_max: 100 is below'),
        ('locale=', 'locale: it is empty'),
        ('client_properties=1', 'client_properties: it is not a dict'),
        ('client_properties={1:2}', 'client_properties: it is not a dict'),
        ('client_properties={', 'client_properties: it is not a dict'),
        ('tcp_options=[]', 'tcp_options: it is not a dict'),
        ('&', 'the name of a parameter is malformed'),
        ('=1', 'the name of a parameter is malformed'),
    ],
)
@pytest.mark.parametrize('scheme', ['amqp', 'amqps'])
def test_a_bad_parameter_is_named(scheme, query, named):
    with pytest.raises(ValueError) as caught:
        parse_url(f'{scheme}://user:s3cret@host/v?{query}')
    assert named in str(caught.value)
    assert 's3cret' not in str(caught.value)


@pytest.mark.parametrize(
    ('query', 'named'),
    [
        ('verify=peer', "verify: 'peer' is neither"),
        ('server_name_indication=disable', 'server_name_indication'),
        ('cacertfile=', 'cacertfile: it is empty'),
        ('ssl_options=None', 'ssl_options: it is not a dict'),
        (urlencode({'ssl_options': {'sock': 1}}), "ssl_options: 'sock' is not one of"),
        (urlencode({'ssl_options': {'cert_reqs': 'no'}}), "ssl_options: cert_reqs 'no'"),
    ],
)
def test_a_bad_parameter_of_tls_is_named(query, named):
    with pytest.raises(ValueError, match=f'parameter {named}'):
        parse_url(f'amqps://host?{query}')


@pytest.mark.parametrize('name', sorted(TLS_PARAMETERS))
def test_nobody_is_left_in_the_clear_by_a_missing_s(name):
    with pytest.raises(ValueError, match=f'parameter {name}: .*amqps://'):
        parse_url(f'amqp://host?{name}=verify_peer')


@pytest.mark.parametrize(
    'url',
    [
        '',
        'host',
        'user:s3cret@host',
        'http://user:s3cret@host',
        'amqp:/user:s3cret@host',
        'amqp+ssl://user:s3cret@host',
        'user:s3cret://host',
        'amqp://user:s3cret@host:port',
        'amqp://user:s3cret@host:0',
        'amqp://user:s3cret@host:65536',
        'amqp://user:s3cret@host:123456',
        'amqp://user:s3cret@host:+5',
        'amqp://user:s3cret@::1',
        'amqp://user:s3cret@[::1',
        'amqp://user:s3cret@::1]',
        'amqp://user:s3cret@[::1]5672',
        'amqp://user:s3cret@ho%3Ast',
        'amqp://user:s3cret@ho%20st',
        'amqp://user:s3cret',  # a port?
        'amqp://user:s3cret%@host',
        'amqp://user:s3cret%ff@host',
        'amqp://user%zz:s3cret@host',
        'amqp://user:s3cret@host/%zz',
        'amqp://user:s3cret@host/v\n',
        'amqp://user:s3cret @host',
        # What should have been encoded in the password.
        'amqp://user:s3cret/x@host/v',
        'amqp://user:x/s3cret@host',
        'amqp://user:s3cret?x@host',
        'amqp://user:x?s3cret@host',
        'amqp://user:x?s3cret=y@host',
        'amqp://user:x@y?s3cret=z@host',
        'amqp://user:5672/s3cret@host',  # else the virtual host, which is shown
        'amqp://user:5672?locale=s3cret@host',
        'amqp://user:s3cret#x@host',
        'amqp://user:x#s3cret@host',
    ],
)
def test_no_part_of_a_password_is_told(url):
    with pytest.raises(ValueError) as caught:
        parse_url(url)
    told = ''.join(traceback.format_exception(caught.value))
    assert 's3cret' not in told.replace(repr(url), '')
    assert 's3cret' not in repr(caught.value)


def test_a_password_is_not_taken_for_a_parameter():
    with pytest.raises(ValueError) as caught:
        parse_url('amqp://user:x@y?secret=z@host')
    assert 'secret' not in str(caught.value)


def test_only_text_is_a_url():
    with pytest.raises(TypeError) as caught:
        parse_url(b'amqp://user:s3cret@host')
    assert 's3cret' not in str(caught.value)


@pytest.mark.parametrize(
    ('url', 'shown'),
    [
        ('amqp://', 'amqp://localhost'),
        ('amqp://us%2Fer:s3cret@h:1/v%2Fw?heartbeat=3', 'amqp://us%2Fer@h:1/v%2Fw'),
        ('amqps://:s3cret@[::1]/', 'amqps://@[::1]/'),
        ('amqps://u@h?certfile=/s3cret', 'amqps://u@h'),
    ],
)
def test_what_is_shown_of_it(url, shown):
    parsed = parse_url(url)
    assert isinstance(parsed, BrokerURL)
    assert str(parsed) == shown
    assert repr(parsed) == f'<BrokerURL {shown}>'


def test_each_parameter_is_read():
    # Two tables, no name in both.
    assert not set(PARAMETERS) & set(TLS_PARAMETERS)


def test_the_numbers_of_ssl():
    ssl = pytest.importorskip('ssl')
    for name, number in parse_url.__globals__['CERTIFICATE_DEMANDS'].items():
        assert getattr(ssl, name) == number
