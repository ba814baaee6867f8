"""Atalanta behind each proxy, on the configurations of examples/deploy, with real clients.

The files are used as they are but for ports, paths and the places of the two Atalantas; what the programs need
beside them to run in the foreground, without privileges, is made here.
"""

import asyncio
import contextlib
import http.client
import os
import socket
import ssl
import tempfile
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import trustme
from websockets.asyncio.client import connect

from ..server.running import GUARD, answer, free_port, serving
from .programs import program, rendered, running

HOST = "site.example.org"
CLIENT = "127.0.0.2"  # not the proxy's address, so that a test sees which of them is told

# Whether Apache uses mod_proxy_wstunnel itself, as before 2.4.47, where the directive is unknown.
WSTUNNEL = "ProxyWebsocketFallbackToProxyHttp Off"
APACHE_MODULES = "mpm_event authz_core alias headers rewrite ssl proxy proxy_http proxy_wstunnel"


@dataclass
class Places:
    """What is put into a configuration: `site` and `shop` are where the two Atalantas are, each the path of a
    Unix socket or a TCP port; `changes` are replacements of a test's own."""

    directory: Path
    site: str | int
    shop: str | int
    changes: dict[str, str] = field(default_factory=dict)
    http_port: int = field(default_factory=free_port)
    https_port: int = field(default_factory=free_port)

    def upstreams(self, site, shop, tcp="{}"):
        """Replacements of the paths of Unix sockets; for TCP of the texts `site` and `shop` by `tcp` with the
        address in it."""
        if isinstance(self.site, str):
            return {"/run/atalanta/site.sock": self.site, "/run/atalanta/shop.sock": self.shop}
        return {
            text: tcp.format(f"127.0.0.1:{port}") for text, port in ((site, self.site), (shop, self.shop))
        }

    def write(self, name, text):
        (self.directory / name).write_text(text)
        return self.directory / name


# ---- Each proxy: writes its configuration, and gives the command and variables of the environment ----


def nginx(places):
    upstreams = places.upstreams("unix:/run/atalanta/site.sock", "unix:/run/atalanta/shop.sock")
    listen = {
        "listen 80;": f"listen 127.0.0.1:{places.http_port};",
        "listen 443 ssl;": f"listen 127.0.0.1:{places.https_port} ssl;",
    }
    files = {"/etc/ssl/site": str(places.directory)}
    site = places.write(
        "site.conf", rendered("nginx.conf", {**listen, **files, **upstreams, **places.changes})
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {places.directory}/{kind};" for kind in kinds)
    main = places.write(
        "nginx.conf",
        f"daemon off; pid {places.directory}/nginx.pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; {temporary} include {site}; }}\n",
    )
    return [program("nginx"), "-e", "stderr", "-p", places.directory, "-c", main], {}


def apache_http(places):
    upstreams = places.upstreams(
        "unix:/run/atalanta/site.sock|http://site/", "unix:/run/atalanta/shop.sock|http://shop/", "http://{}/"
    )
    return apache(places, "apache-http.conf", upstreams)


def apache_wstunnel(places):
    upstreams = places.upstreams("127.0.0.1:8000", "127.0.0.1:8001")
    return apache(places, "apache-wstunnel.conf", upstreams, WSTUNNEL)


def apache(places, name, upstreams, more=""):
    virtual_hosts = {
        "*:80>": f"127.0.0.1:{places.http_port}>",
        "*:443>": f"127.0.0.1:{places.https_port}>",
    }
    files = {"/etc/ssl/site": str(places.directory)}
    site = places.write(
        "site.conf", rendered(name, {**virtual_hosts, **files, **upstreams, **places.changes})
    )
    modules = "\n".join(
        f"LoadModule {module}_module /usr/lib/apache2/modules/mod_{module}.so"
        for module in APACHE_MODULES.split()
    )
    # Apache refuses to serve as root.
    user = "User nobody\nGroup nogroup" if os.geteuid() == 0 else ""
    main = places.write(
        "apache2.conf",
        f"{modules}\nServerRoot {places.directory}\nServerName localhost\nDefaultRuntimeDir {places.directory}\n"
        f"PidFile {places.directory}/apache2.pid\nErrorLog {places.directory}/error.log\n{user}\n"
        f"Listen 127.0.0.1:{places.http_port}\nListen 127.0.0.1:{places.https_port}\n{more}\nInclude {site}\n",
    )
    return [program("apache2"), "-f", main, "-DFOREGROUND"], {}


def caddy(places):
    upstreams = places.upstreams("unix//run/atalanta/site.sock", "unix//run/atalanta/shop.sock")
    # A certificate of the tests' own instead of one that Caddy would ask the world for.
    files = {
        f"\n{HOST} {{": f"\n{HOST} {{\n\ttls {places.directory}/fullchain.pem {places.directory}/key.pem"
    }
    options = f"""
        {{
            admin off
            http_port {places.http_port}
            https_port {places.https_port}
            default_bind 127.0.0.1
        }}
        """
    text = textwrap.dedent(options) + rendered("Caddyfile", {**files, **upstreams, **places.changes})
    main = places.write("Caddyfile", text)
    home = str(places.directory)
    command = [program("caddy"), "run", "--adapter", "caddyfile", "--config", main]
    return command, {"HOME": home, "XDG_DATA_HOME": home, "XDG_CONFIG_HOME": home}


@dataclass(frozen=True)
class Way:
    """How clients reach Atalanta: through a proxy, or, if that is None, over TLS of its own."""

    proxy: Callable | None
    unix: bool

    def __str__(self):
        name = self.proxy.__name__.replace("_", "-") if self.proxy else "direct"
        return f"{name}-{'unix' if self.unix else 'tcp'}"


WAYS = [
    Way(None, False),
    Way(nginx, True),
    Way(nginx, False),
    Way(apache_http, True),
    Way(apache_http, False),
    Way(apache_wstunnel, False),
    Way(caddy, True),
    Way(caddy, False),
]
PROXIED = [Way(nginx, True), Way(apache_http, True), Way(apache_wstunnel, False), Way(caddy, True)]


class Site:
    """https and wss for HOST, as its clients see it; `server` is the Atalanta behind."""

    def __init__(self, way, places, authority, server):
        self.way = way
        self.places = places
        self.port = places.https_port
        self.tls = ssl.create_default_context()
        authority.configure_trust(self.tls)
        self.server = server

    def connect(self, path="/", **options):
        """A client at the address CLIENT."""
        return connect(
            f"wss://{HOST}:{self.port}{path}",
            ssl=self.tls,
            host="127.0.0.1",
            local_addr=(CLIENT, 0),
            open_timeout=GUARD,
            close_timeout=GUARD,
            max_size=None,
            **options,
        )

    @contextlib.contextmanager
    def http(self):
        """An HTTP connection from the address CLIENT."""
        with contextlib.closing(ToHost(self.port, self.tls)) as connection:
            yield connection

    def get(self, path="/", headers=None):
        """(status, headers, body)"""
        with self.http() as connection:
            return answer(connection, path, headers)

    async def aget(self, path):
        """The body of the response to a GET, in a thread of its own."""
        return (await asyncio.to_thread(self.get, path))[2]


class ToHost(http.client.HTTPSConnection):
    """HTTPS to HOST without asking for its address."""

    def __init__(self, port, tls):
        super().__init__(HOST, port, timeout=GUARD, context=tls)
        self.tls = tls

    def connect(self):
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=GUARD, source_address=(CLIENT, 0))
        self.sock = self.tls.wrap_socket(raw, server_hostname=HOST)


@contextlib.contextmanager
def directory_for_all():
    """A directory that a proxy's own user can enter, with a short path as Unix sockets need."""
    with tempfile.TemporaryDirectory(prefix="atalanta-") as name:
        os.chmod(name, 0o755)
        yield Path(name)


@dataclass(frozen=True)
class Project:
    """What Atalanta serves: an application in a directory, and variables of the environment."""

    directory: Path = Path(__file__).parent
    application: str = "application:application"
    variables: dict[str, str] = field(default_factory=dict)

    def atalanta(self, directory, *arguments):
        words = ["--app-dir", self.directory, *arguments]
        return serving(directory, *words, application=self.application, **self.variables)

    def behind(self, directory, way, *arguments):
        """An Atalanta that believes its proxy."""
        trusted = ["--proxy-headers", "--forwarded-allow-ips", "unix" if way.unix else "127.0.0.1"]
        return self.atalanta(directory, *arguments, *trusted)

    @contextlib.contextmanager
    def upstream(self, directory, way, name, *options):
        """(server, where it listens) of an Atalanta for a proxy."""
        path = str(directory / f"{name}.sock")
        where = ["-u", path] if way.unix else ["-p", 0]
        with self.behind(directory, way, *where, *options) as server:
            yield server, path if way.unix else server.port


@contextlib.contextmanager
def deployed(way, *options, changes=None, project=Project()):
    """A Site with these options of Atalanta's, and changes of the proxy's configuration."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(directory_for_all())
        authority = trustme.CA()
        certificate = authority.issue_cert(HOST)
        certificate.private_key_pem.write_to_path(directory / "key.pem")
        (directory / "fullchain.pem").write_bytes(certificate.cert_chain_pems[0].bytes())
        if way.proxy is None:
            tls = ["--ssl-certfile", directory / "fullchain.pem", "--ssl-keyfile", directory / "key.pem"]
            server = stack.enter_context(project.atalanta(directory, *options, *tls))
            yield Site(way, Places(directory, 0, 0, https_port=server.port), authority, server)
            return
        server, site = stack.enter_context(project.upstream(directory, way, "site", *options))
        prefix = ["--root-path", "/shop"]
        _, shop = stack.enter_context(project.upstream(directory, way, "shop", *prefix, *options))
        places = Places(directory, site, shop, changes or {})
        command, variables = way.proxy(places)
        ports = (places.http_port, places.https_port)
        stack.enter_context(running(directory, command, ports, **variables))
        yield Site(way, places, authority, server)


def restarted(site, project=Project()):
    """A new Atalanta in the place of the site's own, which has been stopped."""
    where = ["-u" if site.way.unix else "-p", site.places.site]
    return project.behind(site.places.directory, site.way, *where)
