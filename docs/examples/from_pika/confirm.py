"""Publish a message, and know that the broker has it."""

import amqp


def main(url='amqp://localhost:5672', queue='test'):
    with amqp.connect(url) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, auto_delete=False)
        message = amqp.Message('Hello World!', content_type='text/plain', delivery_mode=2)
        try:
            channel.basic_publish_confirm(message, routing_key=queue, confirm_timeout=10)
        except amqp.MessageNacked as exc:
            print('refused:', exc.message.body)
        else:
            print('confirmed')


if __name__ == '__main__':
    main()
