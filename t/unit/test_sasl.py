from __future__ import annotations

import socket
import subprocess
import sys
import types

import pytest

from amqp.exceptions import EncodeError, IrrecoverableConnectionError
from amqp.sasl import AMQPLAIN, EXTERNAL, GSSAPI, PLAIN, RAW, SASL, mechanisms_for
from amqp.serialization import loads


@pytest.mark.parametrize(
    ('mechanism', 'name', 'response'),
    [
        (PLAIN('u', 'p'), b'PLAIN', b'\x00u\x00p'),
        (PLAIN('é', 'ü'), b'PLAIN', b'\x00\xc3\xa9\x00\xc3\xbc'),
        (PLAIN('', ''), b'PLAIN', b'\x00\x00'),
        (
            AMQPLAIN('u', 'p'),
            b'AMQPLAIN',
            b'\x05LOGINS\x00\x00\x00\x01u\x08PASSWORDS\x00\x00\x00\x01p',
        ),
        (EXTERNAL(), b'EXTERNAL', b''),
        (RAW(b'X', b'resp'), b'X', b'resp'),
        (RAW('X', 'é'), b'X', b'\xc3\xa9'),
    ],
)
def test_start(mechanism, name, response):
    assert isinstance(mechanism, SASL)
    assert mechanism.mechanism == name
    assert mechanism.start(None) == response


def test_amqplain_is_a_table_without_its_length():
    response = AMQPLAIN('ü', 'p' * 300).start(None)
    assert loads('F', len(response).to_bytes(4, 'big') + response, 0)[0] == [
        {'LOGIN': 'ü', 'PASSWORD': 'p' * 300}
    ]


@pytest.mark.parametrize('cls', [PLAIN, AMQPLAIN])
@pytest.mark.parametrize(('username', 'password'), [(None, None), ('u', None), (None, 'p')])
def test_without_credentials_another_mechanism_is_tried(cls, username, password):
    assert cls(username, password).start(None) is NotImplemented


def test_a_bad_password_is_not_in_the_error():
    with pytest.raises(EncodeError) as caught:
        AMQPLAIN('u', {'s3cret'}).start(None)
    assert 'PASSWORD' in str(caught.value)
    assert 's3cret' not in str(caught.value)


@pytest.mark.parametrize(
    'mechanism', [PLAIN('u', 's3cret'), AMQPLAIN('u', 's3cret'), RAW(b'PLAIN', b's3cret')]
)
def test_no_secret_in_repr(mechanism):
    assert 's3cret' not in f'{mechanism!r} {mechanism}'


@pytest.mark.parametrize('args', [(None, b''), (b'X', None), (5, b'')])
def test_raw_takes_bytes_or_str(args):
    with pytest.raises(TypeError):
        RAW(*args)


def test_base_class():
    with pytest.raises(NotImplementedError):
        SASL().start(None)
    assert SASL().mechanism is None


@pytest.mark.parametrize(
    'mechanism',
    [SASL(), PLAIN('u', 's3cret'), AMQPLAIN('u', 's3cret'), EXTERNAL(), RAW(b'X', b'r'), GSSAPI()],
)
def test_an_unexpected_challenge_is_a_clear_error(mechanism):
    with pytest.raises(IrrecoverableConnectionError, match='has no answer to') as caught:
        mechanism.respond(b'challenge')
    assert (mechanism.mechanism or b'?').decode() in str(caught.value)
    assert 's3cret' not in str(caught.value)


def test_a_mechanism_of_ones_own_may_answer():
    class Demo(SASL):
        mechanism = b'DEMO'

        def start(self, connection):
            return b'guest'

        def respond(self, challenge):
            return b'My password is ' + challenge

    assert Demo().respond(b'x') == b'My password is x'


# -- the arguments of a connection ---------------------------------------------------------------


def chosen(authentication=(), login_method=None, login_response=None, certificate=False):
    mechanisms = mechanisms_for(authentication, login_method, login_response, 'u', 'p', certificate)
    assert type(mechanisms) is tuple
    return mechanisms


def test_a_certificate_is_shown_to_log_in_by_it():
    assert [type(each) for each in chosen(certificate=True)] == [GSSAPI, EXTERNAL, PLAIN, AMQPLAIN]


def test_by_default_passwords_come_before_external():
    gssapi, plain, amqplain, external = chosen()
    types = (type(gssapi), type(plain), type(amqplain), type(external))
    assert types == (GSSAPI, PLAIN, AMQPLAIN, EXTERNAL)
    assert gssapi.fail_soft
    assert gssapi.client_name == b'u'
    assert (plain.username, plain.password) == ('u', 'p')
    assert (amqplain.username, amqplain.password) == ('u', 'p')


def test_mechanisms_handed_in_go_first():
    one, other = EXTERNAL(), RAW(b'X', b'')
    assert chosen(one, 'PLAIN') == (one,)
    assert chosen([one, other]) == (one, other)
    assert chosen(iter([one])) == (one,)


@pytest.mark.parametrize(
    ('login_method', 'cls'),
    [('PLAIN', PLAIN), ('AMQPLAIN', AMQPLAIN), ('EXTERNAL', EXTERNAL), ('GSSAPI', GSSAPI)],
)
def test_login_method(login_method, cls):
    [mechanism] = chosen(login_method=login_method)
    assert type(mechanism) is cls
    # Asked for by name, it fails loudly.
    assert not getattr(mechanism, 'fail_soft', False)


def test_several_login_methods_keep_their_order():
    external, plain = chosen(login_method=('EXTERNAL', 'PLAIN'))
    assert (type(external), type(plain)) == (EXTERNAL, PLAIN)
    with pytest.raises(ValueError, match="'MAGIC' is not one of"):
        chosen(login_method=['PLAIN', 'MAGIC'])


def test_login_response_is_sent_as_it_is():
    [mechanism] = chosen(login_method='PLAIN', login_response=b'response')
    assert mechanism.mechanism == b'PLAIN'
    assert mechanism.start(None) == b'response'


def test_unknown_login_method():
    with pytest.raises(ValueError, match=r"'MAGIC' is not one of .*PLAIN"):
        chosen(login_method='MAGIC')


# -- GSSAPI: stands in for a package that needs Kerberos' libraries and a key server -------------


class FakeGSSError(Exception):
    pass


class FakeContext:
    """What a context has to be told and tells, according to the documentation of gssapi."""

    def __init__(self, name, creds):
        self.name, self.creds = name, creds
        self.tokens = []
        self.complete = False

    def step(self, token=None):
        self.tokens.append(token)
        if token == b'last':
            self.complete = True
            return None
        return b'token'

    def unwrap(self, message):
        return types.SimpleNamespace(message=message[len('wrapped ') :])

    def wrap(self, message, encrypt):
        return types.SimpleNamespace(message=b'signed ' + message)


@pytest.fixture
def gssapi(monkeypatch):
    module = types.ModuleType('gssapi')
    module.NameType = types.SimpleNamespace(hostbased_service='hostbased')
    module.Name = lambda *args: ('name', *args)
    module.Credentials = lambda name, usage: ('creds', name, usage)
    module.SecurityContext = FakeContext
    raw, misc = types.ModuleType('gssapi.raw'), types.ModuleType('gssapi.raw.misc')
    misc.GSSError = FakeGSSError
    for each in (module, raw, misc):
        monkeypatch.setitem(sys.modules, each.__name__, each)
    return module


@pytest.fixture
def without_gssapi(monkeypatch):
    monkeypatch.setitem(sys.modules, 'gssapi', None)


class Connection:
    """As far as a mechanism looks: the transport's host and socket."""

    def __init__(self, sock=None):
        self.transport = types.SimpleNamespace(host='broker.example', sock=sock)


def test_gssapi_start(gssapi):
    mechanism = GSSAPI('me')
    assert mechanism.mechanism == b'GSSAPI'
    assert mechanism.start(Connection()) == b'token'
    context = mechanism._context
    assert context.name == ('name', b'amqp@broker.example', 'hostbased')
    assert context.creds == ('creds', ('name', b'me'), 'initiate')


def test_gssapi_default_credentials(gssapi):
    mechanism = GSSAPI(service='other')
    mechanism.start(Connection())
    assert mechanism._context.creds == ('creds', None, 'initiate')
    assert mechanism._context.name[1] == b'other@broker.example'


def test_gssapi_further_steps_and_security_layer(gssapi):
    mechanism = GSSAPI()
    mechanism.start(Connection())
    assert mechanism.respond(b'more') == b'token'
    assert mechanism.respond(b'last') == b''
    assert mechanism._context.tokens == [None, b'more', b'last']
    assert mechanism.respond(b'wrapped \x07\x00\x10\x00') == b'signed \x01\x00\x00\x00'
    assert mechanism.respond(b'wrapped ') == b''


def test_gssapi_host_by_reverse_dns(gssapi):
    with (
        socket.create_server(('127.0.0.1', 0)) as server,
        socket.create_connection(server.getsockname()) as sock,
    ):
        connection = Connection(sock)
        assert GSSAPI(rdns=True).get_hostname(connection) == (
            socket.gethostbyaddr('127.0.0.1')[0].encode()
        )
        assert GSSAPI(rdns=False).get_hostname(connection) == b'broker.example'


def test_gssapi_reverse_dns_is_for_ip_only(gssapi):
    if not hasattr(socket, 'AF_UNIX'):
        pytest.skip('no other address family here')
    with socket.socket(socket.AF_UNIX) as sock:
        assert GSSAPI(rdns=True).get_hostname(Connection(sock)) == b'broker.example'


def fail(*args, **kwargs):
    raise FakeGSSError('no credentials')


def test_gssapi_failure(gssapi, monkeypatch):
    monkeypatch.setattr(gssapi, 'SecurityContext', fail)
    with pytest.raises(FakeGSSError):
        GSSAPI().start(Connection())
    assert GSSAPI(fail_soft=True).start(Connection()) is NotImplemented


def test_gssapi_not_installed(without_gssapi):
    with pytest.raises(NotImplementedError, match=r'amqp\[gssapi\]'):
        GSSAPI().start(Connection())
    assert GSSAPI(fail_soft=True).start(Connection()) is NotImplemented


def test_the_old_python_gssapi_counts_as_not_installed(gssapi, monkeypatch):
    monkeypatch.delitem(sys.modules, 'gssapi.raw.misc')
    monkeypatch.delitem(sys.modules, 'gssapi.raw')
    assert GSSAPI(fail_soft=True).start(Connection()) is NotImplemented


def test_gssapi_is_imported_only_when_used():
    code = "import sys; from amqp.sasl import GSSAPI; GSSAPI(); assert 'gssapi' not in sys.modules"
    subprocess.run([sys.executable, '-c', code], check=True)
