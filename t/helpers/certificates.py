"""Certificates of a private node: an authority's, the node's, a client's, and a stranger's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

#: The common name of the client certificate, and the user that EXTERNAL makes of it.
CLIENT = 'amqp-client'


class Certificates:
    """The files, made anew for each node by trustme in the node's `directory`."""

    directory: Path

    @property
    def ca_file(self) -> str:
        """The authority that signed the node's certificate and the client's."""
        return self._path('ca.pem')

    @property
    def other_ca_file(self) -> str:
        """An authority that did not sign the node's certificate."""
        return self._path('other-ca.pem')

    @property
    def client_cert(self) -> str:
        return self._path('client.pem')

    @property
    def client_key(self) -> str:
        return self._path('client.key')

    @property
    def other_client_cert(self) -> str:
        """A certificate in the same name, by the authority that the node does not trust."""
        return self._path('other-client.pem')

    @property
    def other_client_key(self) -> str:
        return self._path('other-client.key')

    def write_certificates(self) -> None:
        # Nodes without TLS are started where trustme is not installed.
        import trustme

        authority, other = trustme.CA(), trustme.CA()
        self._write_certificate('server', authority.issue_cert('localhost', '127.0.0.1'))
        for name, ca in (('client', authority), ('other-client', other)):
            certificate = ca.issue_cert(f'{CLIENT}@localhost.example', common_name=CLIENT)
            self._write_certificate(name, certificate)
        authority.cert_pem.write_to_path(self.ca_file)
        other.cert_pem.write_to_path(self.other_ca_file)

    def _path(self, name: str) -> str:
        return str(self.directory / name)

    def _write_certificate(self, name: str, certificate: Any) -> None:
        key = self.directory / f'{name}.key'
        certificate.private_key_pem.write_to_path(str(key))
        key.chmod(0o600)
        chain = b''.join(blob.bytes() for blob in certificate.cert_chain_pems)
        (self.directory / f'{name}.pem').write_bytes(chain)
