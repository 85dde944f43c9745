"""A peer that breaks the protocol: the reader is told what is wrong, the connection is over."""

from __future__ import annotations

import random
import struct

import pytest
from pamqp import commands

import amqp
from t.helpers.peer import BODY, HEADER, METHOD, content, marshal, raw_frame, raw_method

from .support import LOST, SOON, Background, drain_until, ends_within, poll_dry

DELIVER = commands.Basic.Deliver('tag', 1, False, '', 'key')
PARTS = content(1, DELIVER, b'abcdef')
#: A content header of class basic: weight, body size, property flags and what follows.
BASIC = b'\x00\x3c\x00\x00'


def header(size, flags=b'\x00\x00', properties=b'', class_=BASIC):
    return raw_frame(HEADER, 1, class_ + struct.pack('>Q', size) + flags + properties)


CASES = {
    'end octet': (raw_method(1, (20, 20), b'\x01')[:-1] + b'\x00', amqp.FrameError),
    'frame type 4': (raw_frame(4, 1, b'abc'), amqp.FrameError),
    'frame type 0': (raw_frame(0, 0, b''), amqp.FrameError),
    'frame type 255': (raw_frame(255, 0, b''), amqp.FrameError),
    'protocol header': (b'AMQP\x00\x00\x09\x01', amqp.FrameError),
    'http': (b'HTTP/1.1 400 Bad Request\r\n\r\n', amqp.FrameError),
    'empty method frame': (raw_frame(METHOD, 1, b''), amqp.FrameSyntaxError),
    'method frame of three octets': (raw_frame(METHOD, 1, b'\0\x14\0'), amqp.FrameSyntaxError),
    'unknown method': (raw_method(1, (60, 99)), amqp.AMQPError),
    'unknown class': (raw_method(1, (99, 10)), amqp.AMQPError),
    'method of the client only': (marshal(1, commands.Basic.Publish()), amqp.AMQPError),
    'channel method on channel 0': (marshal(0, commands.Basic.Ack(1)), amqp.AMQPError),
    'connection method on a channel': (
        marshal(1, commands.Connection.Blocked('x')),
        amqp.AMQPError,
    ),
    'method on a channel never opened': (marshal(9, commands.Basic.Ack(1)), amqp.AMQPError),
    'delivery on channel 0': (marshal(0, DELIVER), amqp.UnexpectedFrame),
    'delivery on a channel never opened': (
        b''.join(content(9, DELIVER, b'x')),
        amqp.ConnectionError,
    ),
    'truncated arguments before content': (
        raw_method(1, (60, 60), b'\x03ta') + header(0),
        amqp.FrameSyntaxError,
    ),
    'truncated arguments': (raw_method(1, (60, 30), b'\x05ab'), amqp.FrameSyntaxError),
    'octets behind the arguments': (raw_method(1, (60, 30), b'\x01a\x01xx'), amqp.FrameSyntaxError),
    'header without a method': (PARTS[1], amqp.UnexpectedFrame),
    'body without a method': (PARTS[2], amqp.UnexpectedFrame),
    'body without a header': (PARTS[0] + PARTS[2], amqp.UnexpectedFrame),
    'method inside content': (PARTS[0] + marshal(1, DELIVER), amqp.UnexpectedFrame),
    'method inside a body': (b''.join(PARTS[:2]) + marshal(1, DELIVER), amqp.UnexpectedFrame),
    'second header': (b''.join(PARTS[:2]) + PARTS[1], amqp.UnexpectedFrame),
    'body too long': (PARTS[0] + PARTS[1] + raw_frame(BODY, 1, b'abcdefg'), amqp.FrameError),
    'header of another class': (
        PARTS[0] + header(6, class_=b'\x00\x32\x00\x00'),
        amqp.FrameSyntaxError,
    ),
    'short header': (PARTS[0] + raw_frame(HEADER, 1, BASIC + b'\0' * 8), amqp.FrameSyntaxError),
    'properties cut off': (PARTS[0] + header(0, b'\x80\x00'), amqp.FrameSyntaxError),
    'string property cut off': (
        PARTS[0] + header(0, b'\x80\x00', b'\x05ab'),
        amqp.FrameSyntaxError,
    ),
    'headers cut off': (
        PARTS[0] + header(0, b'\x20\x00', b'\x00\x00\x00\xff\x01aS'),
        amqp.FrameSyntaxError,
    ),
    'unknown type in the headers': (
        PARTS[0] + header(0, b'\x20\x00', b'\x00\x00\x00\x04\x01a?\x01'),
        amqp.FrameSyntaxError,
    ),
    'handshake again': (marshal(0, commands.Connection.Tune(1, 4096, 0)), amqp.UnexpectedFrame),
    'start again': (marshal(0, commands.Connection.Start()), amqp.UnexpectedFrame),
    'close-ok unasked for': (marshal(0, commands.Connection.CloseOk()), amqp.UnexpectedFrame),
    'channel close-ok unasked for': (marshal(1, commands.Channel.CloseOk()), amqp.UnexpectedFrame),
    'ack without confirm mode': (marshal(1, commands.Basic.Ack(1)), amqp.UnexpectedFrame),
}


@pytest.mark.parametrize('case', CASES)
def test_malformed_input(peer, connect, case):
    stream, error = CASES[case]
    peer.serve()
    connection = connect()
    channel = connection.channel()
    channel.basic_consume('q', 'tag', no_ack=True)
    peer.wire().send_raw(stream)
    with ends_within(SOON), pytest.raises(error) as caught:
        connection.drain_events(timeout=SOON / 2)
    assert not isinstance(caught.value, ValueError), 'that is for what the caller did wrong'
    assert isinstance(caught.value, amqp.ConnectionError)
    assert not connection.connected
    assert not connection.is_alive()
    with pytest.raises(LOST):
        channel.queue_declare('q')
    connection.close()


def test_waiters_are_told(peer, connect):
    peer.serve(mute=[commands.Queue.Declare])
    connection = connect()
    channel = connection.channel()
    calls = [Background(channel.queue_declare, 'q'), Background(connection.drain_events)]
    peer.wire().seen(commands.Queue.Declare)
    peer.wire().send_raw(raw_frame(4, 1, b''))
    errors = [call.error() for call in calls]
    assert all(isinstance(error, amqp.ConnectionError) for error in errors)
    assert sum(isinstance(error, amqp.FrameError) for error in errors) == 1


def test_methods_that_nobody_asked_for_are_harmless(peer, connect):
    """A reply without a request, an unknown consumer's delivery: nothing happens."""
    peer.serve()
    connection = connect()
    channel = connection.channel()
    wire = peer.wire()
    wire.send(1, commands.Queue.PurgeOk(1), commands.Basic.GetEmpty())
    for _ in range(2):
        connection.drain_events(timeout=SOON)
    wire.deliver(1, 'nobody', 7)
    assert channel.queue_purge('q') == 0
    poll_dry(connection)
    assert wire.seen(commands.Basic.Reject)[0].delivery_tag == 7


@pytest.mark.parametrize('frames', [1, 2])
def test_content_of_an_unknown_channel_is_refused_at_its_first_frame(peer, connect, frames):
    """However large it says that it is: no memory is taken for it."""
    peer.serve()
    connection = connect()
    connection.channel()
    announced = raw_frame(HEADER, 9, BASIC + struct.pack('>Q', 2**20) + b'\x00\x00')
    sent = [marshal(9, DELIVER), announced]
    peer.wire().send_raw(*sent[:frames])
    with ends_within(SOON), pytest.raises(amqp.ChannelNotOpen, match='channel 9 is not open'):
        connection.drain_events(timeout=SOON)
    assert not connection.connected


def test_content_of_a_number_that_rests_is_passed_over(peer, connect):
    """It was on its way when the channel was let go of."""
    peer.serve()
    connection = connect()
    channel = connection.channel()
    channel.basic_consume('q', 'tag', no_ack=True, callback=lambda msg: None)
    channel.collect()
    peer.wire().deliver(1, body=b'late')
    assert connection.channel().queue_purge('q') == 0


def test_unknown_property_bits_and_bytes_that_are_no_text(peer, connect):
    """What RabbitMQ really sends: headers with bytes of no encoding."""
    peer.serve()
    connection = connect()
    channel = connection.channel()
    got = []
    channel.basic_consume('q', 'tag', no_ack=True, callback=got.append)
    table = b'\x01aS\x00\x00\x00\x02\xff\xfe'
    properties = struct.pack('>I', len(table)) + table
    peer.wire().send_raw(PARTS[0] + header(2, b'\x20\x00', properties) + raw_frame(BODY, 1, b'xy'))
    connection.drain_events(timeout=SOON)
    assert got[0].body == b'xy'
    assert got[0].headers == {'a': b'\xff\xfe'}


@pytest.mark.parametrize('seed', range(60))
def test_damaged_stream(peer, connect, seed):
    """Any octet changed anywhere: an AMQP error or messages, no other exception, no hang."""
    rng = random.Random(seed)
    peer.serve()
    connection = connect()
    channel = connection.channel()
    channel.basic_consume('q', 'tag', no_ack=True, callback=lambda msg: msg.properties)
    properties = commands.Basic.Properties(
        content_type='text/plain', headers={'a': 1, 'b': [1, {'c': 'x'}]}, priority=3
    )
    stream = bytearray(b''.join(content(1, DELIVER, b'abcdef', properties=properties)) * 3)
    for _ in range(rng.randint(1, 3)):
        stream[rng.randrange(len(stream))] = rng.randrange(256)
    wire = peer.wire()
    wire.send_raw(bytes(stream))
    wire.eof()
    with ends_within(SOON), pytest.raises(amqp.AMQPError):
        drain_until(connection, lambda: False)
    assert not connection.connected
