"""Connect by TLS, to a broker whose certificate a private authority has signed."""

import ssl

import amqp


def main(host='localhost:5671', ca_file='ca.pem', queue='sslq'):
    context = ssl.create_default_context(cafile=ca_file)
    with amqp.Connection(host, ssl=context, connect_timeout=5) as connection:
        channel = connection.channel()
        print(channel.queue_declare(queue))
        channel.basic_publish(amqp.Message('abc'), routing_key=queue)
        print(channel.basic_get(queue, no_ack=True).body)


if __name__ == '__main__':
    main()
