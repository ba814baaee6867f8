"""Every mistake of the user: the exit status, one line that says what to do, and never a traceback."""

import socket

import pytest
import trustme

from .running import PROJECT, run, run_all, serving

PARSER = 2
START = 1


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Certificates that fit and that do not."""
    directory = tmp_path_factory.mktemp("files")
    authority = trustme.CA()
    for name in ("one", "two"):
        certificate = authority.issue_cert("localhost")
        certificate.private_key_pem.write_to_path(directory / f"{name}.key")
        certificate.cert_chain_pems[0].write_to_path(directory / f"{name}.pem")
    (directory / "nonsense.pem").write_text("nonsense")
    (directory / "nonsense.json").write_text("{")
    return directory


APPLICATIONS = [
    ("served", START, "is not module:application"),
    ("served:", START, "is not module:application"),
    ("nowhere:application", START, "there is no module 'nowhere'"),
    ("nowhere.asgi:application", START, "there is no module 'nowhere'"),
    ("served:nothing", START, "has no 'nothing'"),
    ("served:not_callable", START, "int cannot be called"),
    ("served:for_wsgi", START, "served:for_wsgi is a WSGI application; Django's ASGI application is in asgi.py"),
]


@pytest.fixture(scope="module")
def outcomes(files):
    """Exit status and standard error of every application and every list of options below."""
    cases = [["-p", 0, application] for application, _, _ in APPLICATIONS]
    for words, _, _ in OPTIONS:
        cases.append([*[word.replace("{files}", str(files)) for word in words], "served:application"])
    return run_all(cases)


@pytest.mark.parametrize("number", range(len(APPLICATIONS)), ids=lambda number: APPLICATIONS[number][0])
def test_applications(outcomes, number):
    _, status, reason = APPLICATIONS[number]
    judge(*outcomes[number], status, reason)


def judge(returned, errors, status, reason):
    assert returned == status, errors
    assert reason in errors
    assert "Traceback" not in errors
    assert errors.count("\n") == 1
    assert errors.startswith("atalanta: error: ")


def judge_run(done, status, reason):
    judge(done.returncode, done.stderr, status, reason)


OPTIONS = [
    (["--no-such-option"], PARSER, "unrecognized arguments: --no-such-option"),
    (["--pingg", "3"], PARSER, "unrecognized arguments: --pingg (see atalanta --help)"),
    (["--http2"], PARSER, "unrecognized arguments: --http2; did you mean --http? (see atalanta --help)"),
    (["-x"], PARSER, "unrecognized arguments: -x (see atalanta --help)"),
    (["other:application"], PARSER, "unrecognized arguments: served:application (see atalanta --help)"),
    (["-p", "http"], PARSER, "'http' is not a whole number"),
    (["--lifespan", "maybe"], PARSER, "'maybe' is none of auto, on, off"),
    (["-e", "onion:80"], PARSER, "'onion' is none of"),
    (["--proxy-headers-host", "X"], PARSER, "needs --proxy-headers"),
    (
        ["--proxy-headers", "--forwarded-allow-ips", "proxy.example"],
        PARSER,
        "--forwarded-allow-ips: 'proxy.example'",
    ),
    (["-b", "no-such-host.invalid"], START, "cannot listen on no-such-host.invalid"),
    (["-u", "/no/such/directory/x"], START, "its directory does not exist"),
    (["--fd", "99"], START, "file descriptor 99 is no open socket"),
    (["--fd", "0"], START, "file descriptor 0 is no open socket"),
    (["--env-file", "/no/such/file"], START, "cannot read the file of environment variables"),
    (["--log-config", "/no/such/file.json"], START, "cannot configure logging from /no/such/file.json"),
    (["--log-config", "{files}/nonsense.json"], START, "cannot configure logging from"),
    (["--log-fmt", "%(nonsense"], START, "cannot configure logging from --log-fmt: Invalid format"),
    (["--access-log", "/no/such/directory/x"], START, "cannot write the access log"),
    (["--ssl-certfile", "/no/such/file"], START, "cannot read /no/such/file"),
    (["--ssl-certfile", "{files}/nonsense.pem"], START, "must hold a certificate and its key in PEM"),
    (["--ssl-certfile", "{files}/one.pem"], START, "must hold a certificate and its key in PEM"),
    (
        ["--ssl-certfile", "{files}/one.pem", "--ssl-keyfile", "{files}/two.key"],
        START,
        "does not belong to the",
    ),
    (
        ["--ssl-certfile", "{files}/one.pem", "--ssl-keyfile", "{files}/one.key", "--ssl-ciphers", "no-such"],
        START,
        "knows none of the ciphers",
    ),
    (
        [
            "--ssl-certfile",
            "{files}/one.pem",
            "--ssl-keyfile",
            "{files}/one.key",
            "--ssl-ca-certs",
            "{files}/nonsense.pem",
        ],
        START,
        "holds no certificate",
    ),
    (["-e", "ssl:0:privateKey={files}/none:certKey={files}/one.pem"], START, "cannot read"),
]


@pytest.mark.parametrize("number", range(len(OPTIONS)), ids=lambda number: " ".join(OPTIONS[number][0])[:50])
def test_options(outcomes, number):
    _, status, reason = OPTIONS[number]
    judge(*outcomes[len(APPLICATIONS) + number], status, reason)


def test_a_missing_application():
    judge_run(run("-p", 0), PARSER, "the following arguments are required: application")


def test_a_port_in_use():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        judge_run(
            run("-p", port, "served:application"), START, f"port {port}: it is in use; stop the other server"
        )


def test_a_unix_socket_in_use(tmp_path):
    path = tmp_path / "x.sock"
    with serving(tmp_path, "-u", path):
        judge_run(run("-u", path, "served:application"), START, "another server uses it")
        assert path.exists()


def test_a_wrong_variable():
    judge_run(
        run("-p", 0, "served:application", ATALANTA_WORKERS="many"), PARSER, "ATALANTA_WORKERS: 'many' is not"
    )


def test_a_wrong_django_setting():
    done = run("-p", 0, "served:application", DJANGO_SETTINGS_MODULE="wrong_settings")
    judge_run(
        done, PARSER, "ATALANTA['PING_INTERVALL']: there is no such option; did you mean 'PING_INTERVAL'?"
    )


def test_django_settings_that_are_not_there():
    done = run("-p", 0, "served:application", DJANGO_SETTINGS_MODULE="no_such_settings")
    judge_run(done, START, "the Django settings no_such_settings cannot be used")


@pytest.mark.parametrize("module", ["broken", "incomplete"])
def test_an_application_that_fails_on_import_shows_where(module):
    """That is no mistake in the command, and the user needs the place in the program."""
    done = run("-p", 0, f"{module}:application")
    assert done.returncode == START
    assert str(PROJECT / f"{module}.py") in done.stderr
    assert done.stderr.splitlines()[-1].startswith(
        f"atalanta: error: {module}:application cannot be imported: "
    )


def test_an_application_that_fails_at_startup():
    done = run("-p", 0, "--lifespan", "on", "served:failing")
    assert done.returncode == 3, "as uvicorn"
    assert "no database" in done.stderr and "Traceback" not in done.stderr


def test_the_version():
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("atalanta ")
