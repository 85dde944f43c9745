"""Have a function called with each message, until Ctrl-C."""

import sys

import amqp


def on_message(message):
    print(message.delivery_tag, message.body, flush=True)
    message.channel.basic_ack(message.delivery_tag)


def main(url='amqp://localhost:5672', queue='test'):
    with amqp.connect(url, heartbeat=30) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=True, auto_delete=False)
        channel.basic_qos(0, 100, False)
        channel.basic_consume(queue, callback=on_message)
        try:
            channel.start_consuming()
        except KeyboardInterrupt:
            channel.stop_consuming()


if __name__ == '__main__':
    main(*sys.argv[1:])
