"""Consume from a cluster, whichever of its nodes are up, until Ctrl-C."""

import sys

import amqp

NODES = ['amqp://node1', 'amqp://node2', 'amqp://node3']


def consume(connection):
    channel = connection.channel()
    channel.basic_qos(0, 1, False)
    channel.queue_declare('recovery-example', durable=False, auto_delete=True)
    for message in channel.consume('recovery-example'):
        with message.process(requeue=True):
            print(message.body, flush=True)


def main(*nodes):
    while True:
        try:
            # Each in turn, in another order each time, with pauses that grow, for a minute.
            with amqp.connect(nodes or NODES, shuffle=True, timeout=60, heartbeat=30) as connection:
                print('connected to', connection.host, flush=True)
                consume(connection)
        except amqp.Connection.recoverable_connection_errors as exc:
            print('connecting anew:', exc, flush=True)
        except KeyboardInterrupt:
            break
        # Errors of a channel, and others that would come back, end the program.


if __name__ == '__main__':
    main(*sys.argv[1:])
