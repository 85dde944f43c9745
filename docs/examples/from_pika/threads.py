"""Have threads do the work: each acknowledges its message by itself."""

from concurrent.futures import ThreadPoolExecutor

import amqp


def work(message):
    print('working on', message.body)
    message.channel.basic_ack(message.delivery_tag)


def main(url='amqp://localhost:5672', queue='test', idle=5):
    with amqp.connect(url, heartbeat=30) as connection:
        channel = connection.channel()
        stream = channel.consume(queue, prefetch=8, inactivity_timeout=idle)
        # The pool ends first: what is unsettled at the end of the stream goes back.
        with stream, ThreadPoolExecutor(4) as pool:
            for message in stream:
                if message is None:
                    break  # there is no more for now
                pool.submit(work, message)


if __name__ == '__main__':
    main()
