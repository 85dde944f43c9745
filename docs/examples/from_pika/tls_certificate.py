"""Show a certificate of our own, and log in by it: no password."""

import ssl

import amqp


def main(host='localhost:5671', ca_file='ca.pem', cert='client-cert.pem', key='client-key.pem'):
    context = ssl.create_default_context(cafile=ca_file)
    context.load_cert_chain(cert, key)
    with amqp.Connection(host, ssl=context, login_method='EXTERNAL') as connection:
        channel = connection.channel()
        message = amqp.Message('Hello World!')
        channel.basic_publish_confirm(message, 'amq.topic', 'hello.world')
        print('published')


if __name__ == '__main__':
    main()
