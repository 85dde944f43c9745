"""Take ten messages; what else has been sent ahead goes back to the queue."""

import amqp


def main(url='amqp://localhost:5672', queue='test'):
    with amqp.connect(url) as connection:
        channel = connection.channel()
        with channel.consume(queue, prefetch=20) as messages:
            for number, message in enumerate(messages, 1):
                print(message.body, message.properties, message.delivery_info)
                channel.basic_ack(message.delivery_tag)
                if number == 10:
                    break


if __name__ == '__main__':
    main()
