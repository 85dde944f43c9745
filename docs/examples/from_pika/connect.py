"""Say where the broker is and who you are: by arguments, or by a URL."""

import amqp


def by_arguments(host):
    connection = amqp.Connection(
        host,
        userid='guest',
        password='guest',
        virtual_host='/',
        heartbeat=30,
        connect_timeout=5,
    )
    connection.connect()
    return connection


def by_url(host):
    return amqp.connect(f'amqp://guest:guest@{host}/%2F?heartbeat=30', timeout=5)


def main(host='localhost:5672'):
    for connect in (by_arguments, by_url):
        with connect(host) as connection:
            print('connected:', connection.is_alive())


if __name__ == '__main__':
    main()
