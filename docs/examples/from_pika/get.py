"""Fetch one message, if there is one."""

import amqp


def main(url='amqp://localhost:5672', queue='test'):
    with amqp.connect(url) as connection:
        channel = connection.channel()
        message = channel.basic_get(queue)
        if message is None:
            print('no message')
        else:
            print(message.body, message.properties, message.delivery_info)
            channel.basic_ack(message.delivery_tag)


if __name__ == '__main__':
    main()
