"""https and wss on one port, from the options and from daphne's endpoint strings."""

import asyncio
import contextlib
import http.client
import ssl

import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from websockets.asyncio.client import connect

from .running import GUARD, answer, run, serving


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "authority.pem")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(directory / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(directory / "certificate.pem")
    certificate.private_key_and_cert_chain_pem.write_to_path(directory / "both.pem")
    key = serialization.load_pem_private_key((directory / "key.pem").read_bytes(), None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    (directory / "encrypted.pem").write_bytes(encrypted)
    authority.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(
        directory / "client.pem"
    )
    return directory


def context(files, client=False):
    made = ssl.create_default_context(cafile=files / "authority.pem")
    if client:
        made.load_cert_chain(files / "client.pem")
    return made


def check(server, tls):
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=GUARD, context=tls)
    with contextlib.closing(connection):
        status, _, body = answer(connection, "/")
    assert status == 200 and b'"scheme": "https"' in body
    asyncio.run(check_websocket(f"wss://127.0.0.1:{server.port}/facts", tls))


async def check_websocket(url, tls):
    # The client with threads reads and writes one TLS object in two of them, which not every Python's ssl
    # is made for.
    async with asyncio.timeout(GUARD), connect(url, ssl=tls) as websocket:
        assert b'"scheme": "wss"' in await websocket.recv()
        await websocket.send("hello")
        assert await websocket.recv() == "hello"


@pytest.mark.parametrize(
    "words",
    [
        ["-p", "0", "--ssl-certfile", "{}/certificate.pem", "--ssl-keyfile", "{}/key.pem"],
        ["-p", "0", "--ssl-certfile", "{}/both.pem"],
        ["-e", "ssl:0:privateKey={}/key.pem:certKey={}/certificate.pem:interface=127.0.0.1"],
    ],
    ids=["files", "one-file", "endpoint"],
)
def test_certificates(tmp_path, files, words):
    with serving(tmp_path, *[word.replace("{}", str(files)) for word in words]) as server:
        assert server.addresses[0].startswith("https://127.0.0.1:")
        check(server, context(files))


def test_an_encrypted_key(tmp_path, files):
    arguments = ["--ssl-certfile", files / "certificate.pem", "--ssl-keyfile", files / "encrypted.pem"]
    with serving(tmp_path, *arguments, ATALANTA_SSL_KEYFILE_PASSWORD="secret") as server:
        check(server, context(files))
    for password, reason in ((None, "the private key is encrypted"), ("wrong", "wrong password")):
        words = ["-p", 0, *arguments, *(["--ssl-keyfile-password", password] if password else [])]
        done = run(*words, "served:application")
        assert done.returncode == 1 and reason in done.stderr and done.stderr.count("\n") == 1


def test_certificates_of_clients_with_workers(tmp_path, files):
    arguments = ["--ssl-certfile", files / "both.pem", "--ssl-ca-certs", files / "authority.pem"]
    with serving(tmp_path, *arguments, "--ssl-cert-reqs", "required", "--workers", 2) as server:
        check(server, context(files, client=True))
        with pytest.raises((ssl.SSLError, OSError)):
            check(server, context(files))
