"""Publish a message, and don't wait for an answer."""

import amqp


def main(url='amqp://guest:guest@localhost:5672/%2F'):
    with amqp.connect(url) as connection:
        channel = connection.channel()
        message = amqp.Message('message body value', content_type='text/plain', delivery_mode=1)
        channel.basic_publish(message, 'test_exchange', 'test_routing_key')


if __name__ == '__main__':
    main()
