"""Publish a message, and know that a queue has it."""

import amqp


def main(url='amqp://localhost:5672', queue='test'):
    with amqp.connect(url) as connection:
        channel = connection.channel()
        message = amqp.Message('Hello World!', content_type='text/plain', delivery_mode=2)
        try:
            channel.basic_publish_confirm(message, routing_key=queue, mandatory=True)
        except amqp.NoRoute as exc:
            print('no queue for', exc.routing_key)
        else:
            print('published')


if __name__ == '__main__':
    main()
