"""What is fetched: by HTTPS from who is believed, verified, and whole or not there."""

from __future__ import annotations

import datetime
import hashlib
import http.server
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from stacked import data
from stacked.data.formats.files import fetch
from stacked.data.formats.idx import STEMS
from stacked.data.sources.images import cifar10, fashion_mnist, kmnist, stl10
from stacked.util.errors import InputError

Answers = dict[str, tuple[int, dict[str, str], bytes]]

FILES = {
    "cifar10": "cifar-10-binary.tar.gz",
    "fashion-mnist": "FashionMNIST/raw",
    "kmnist": "KMNIST/raw",
    "stl10": "stl10_binary.tar.gz",
    "stl10+unlabelled": "stl10_binary.tar.gz",
}


@pytest.mark.usefixtures("no_debian")
@pytest.mark.parametrize("name", FILES)
def test_missing_files_say_how_to_get_them(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = tmp_path / "nothing"
    begin = f"{name} is missing or incomplete at {nothing}/{FILES[name]}: run again with --download"
    with pytest.raises(InputError) as by_argument:
        data.load(name, data_dir=nothing)
    monkeypatch.setenv("STACKED_DATA", str(nothing))
    with pytest.raises(InputError) as by_environment:
        data.load(name)
    assert str(by_argument.value) == str(by_environment.value)
    assert str(by_argument.value).startswith(begin)
    assert not nothing.exists()
    monkeypatch.delenv("STACKED_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match=f"at {tmp_path}/.cache/stacked/{FILES[name]}:"):
        data.load(name)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key, and a certificate of it for 127.0.0.1 that nobody else has signed, in one file."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    today = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(1))
        .not_valid_after(today + datetime.timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("certificate") / "both.pem"
    private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(key.private_bytes(*private) + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def serve(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[str, list[str]]]]:
    """Starts a server with these answers (path -> status, headers, content); its address, and what it is asked for."""
    running = []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    def start(answers: Answers, secure: bool = True) -> tuple[str, list[str]]:
        asked: list[str] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                status, headers, content = answers.get(self.path, (404, {}, b""))
                self.send_response(status)
                for header in headers.items():
                    self.send_header(*header)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if secure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return f"http{'s' * secure}://127.0.0.1:{server.server_port}/", asked

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_what_is_fetched_is_read_and_what_is_there_is_not_fetched(
    small_kmnist: Path, serve: Callable[..., tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    aside = small_kmnist.rename(small_kmnist.parents[1] / "aside")
    address, asked = serve({f"/{path.name}": (200, {}, path.read_bytes()) for path in aside.iterdir()})
    monkeypatch.setattr(kmnist, "ADDRESS", address)
    for _ in range(2):
        splits = data.load("kmnist", data_dir=aside.parent, download=True, valid=1 / 6)
        assert len(splits.test) == 20
    assert asked == [f"/{name}" for name in kmnist.SHA256]
    assert sorted(path.name for path in small_kmnist.iterdir()) == sorted(kmnist.SHA256)
    assert (small_kmnist / STEMS[0]).with_suffix(".gz").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", FILES)
def test_every_dataset_is_fetched_by_https_and_nothing_but_the_published_file_is_kept(
    name: str,
    tmp_path: Path,
    serve: Callable[..., tuple[str, list[str]]],
    no_debian: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = {"cifar10": cifar10, "fashion-mnist": fashion_mnist, "kmnist": kmnist}.get(name, stl10)
    file = FILES[name] if FILES[name].endswith(".gz") else "train-images-idx3-ubyte.gz"
    assert module.ADDRESS.startswith("https://")
    address, _ = serve({f"/{file}": (200, {}, b"something else")})
    monkeypatch.setattr(module, "ADDRESS", address)
    with pytest.raises(InputError) as error:
        data.load(name, data_dir=tmp_path, download=True)
    assert f"{address}{file} sent data with SHA-256 {sha256(b'something else')}" in str(error.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_redirection_is_followed_to_https_alone(tmp_path: Path, serve: Callable[..., tuple[str, list[str]]]) -> None:
    plain, asked = serve({"/x": (200, {}, b"content")}, secure=False)
    to, _ = serve({"/x": (200, {}, b"content")})
    address, _ = serve({"/x": (302, {"Location": f"{to}x"}, b""), "/y": (302, {"Location": f"{plain}x"}, b"")})
    fetch("it", address, tmp_path, {"x": sha256(b"content")})
    assert (tmp_path / "x").read_bytes() == b"content"
    with pytest.raises(InputError, match=rf"redirected to {plain}x, which is not HTTPS"):
        fetch("it", address, tmp_path, {"y": sha256(b"content")})
    assert asked == []


def test_a_certificate_of_nobody_is_not_believed(
    tmp_path: Path, serve: Callable[..., tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, asked = serve({"/x": (200, {}, b"content")})
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(InputError, match=r"^it could not be downloaded to .*certificate verify failed"):
        fetch("it", address, tmp_path, {"x": sha256(b"content")})
    assert asked == []
    assert list(tmp_path.iterdir()) == []


def test_a_failed_download_is_told_in_one_sentence_and_leaves_nothing(
    tmp_path: Path, serve: Callable[..., tuple[str, list[str]]]
) -> None:
    address, _ = serve({"/short": (200, {"Content-Length": "9"}, b"content")})
    after = "check the network, the free space and that the folder is writable, then run again"
    for file, reason in (("none", "HTTP Error 404: Not Found"), ("short", None)):
        with pytest.raises(InputError) as error:
            fetch("it", address, tmp_path, {file: sha256(b"content.")})
        assert str(error.value).startswith("it could not be downloaded")
        if reason:
            assert str(error.value) == f"it could not be downloaded to {tmp_path} ({reason}): {after}"
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"it could not be downloaded to .*file/x \(.*(File exists|Not a directory)"):
        fetch("it", address, tmp_path / "file" / "x", {"short": sha256(b"content")})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
