"""Datasets that can be fetched: small files in their real formats, verified, missing, corrupt, and sent by a server.

The published files are not at hand in a test, so the hashes that are expected are exchanged for those of
small files (`monkeypatch`); that hashes are compared, and before anything is parsed, is what the tests hold.
"""

from __future__ import annotations

import datetime
import gzip
import hashlib
import http.server
import io
import ipaddress
import shutil
import ssl
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from stacked import data
from stacked.data.formats.files import fetch, read_archive
from stacked.data.formats.idx import STEMS
from stacked.data.sources import cifar10, fashion_mnist, kmnist, stl10
from stacked.util.errors import InputError

RNG = np.random.default_rng(0)


def idx_bytes(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def tar(path: Path, contents: dict[str, bytes]) -> str:
    """Write a .tar.gz file with these members, in this order; its SHA-256."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Fashion-MNIST


debian = pytest.mark.skipif(
    not fashion_mnist.DEBIAN.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed"
)


@pytest.fixture
def no_debian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fashion_mnist, "DEBIAN", tmp_path / "not installed")


@debian
def test_fashion_mnist_is_found_where_debian_puts_it(tmp_path: Path) -> None:
    splits = data.load("fashion-mnist", data_dir=tmp_path)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (55_000, 5_000, 10_000)
    assert splits.image_shape == (1, 28, 28)
    assert splits.classes[9] == "Ankle boot"
    assert splits.test.labels[:5].tolist() == [9, 2, 1, 1, 6]
    assert splits.train.labels.bincount().tolist() == [5_500] * 10


@debian
@pytest.mark.usefixtures("no_debian")
def test_fashion_mnist_is_found_in_the_data_directory_and_a_corrupt_file_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "FashionMNIST" / "raw"
    shutil.copytree("/usr/share/datasets/fashion-mnist", folder)
    assert len(data.load("fashion-mnist", data_dir=tmp_path, limit=10).train) == 10

    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError) as error:
        data.load("fashion-mnist", data_dir=tmp_path)
    assert str(error.value) == (
        f"{path} is corrupt or truncated (expected SHA-256 "
        f"{fashion_mnist.SHA256['t10k-labels-idx1-ubyte']} of the decompressed bytes): delete it and get it "
        "again with --download or from Debian's package dataset-fashion-mnist"
    )


@pytest.mark.usefixtures("no_debian")
def test_missing_fashion_mnist_names_all_ways_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        data.load("fashion-mnist", data_dir=tmp_path)
    assert str(error.value) == (
        f"fashion-mnist is missing or incomplete at {tmp_path}/FashionMNIST/raw: run again with --download, or give "
        "the folder that holds FashionMNIST/raw with --data-dir (or the environment variable STACKED_DATA), "
        "or install Debian's package dataset-fashion-mnist"
    )


# KMNIST


@pytest.fixture
def small_kmnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "KMNIST" / "raw"
    folder.mkdir(parents=True)
    digests = {}
    for stem in STEMS:
        n = 60 if stem.startswith("train") else 20
        array = RNG.integers(0, 256, (n, 28, 28)) if "images" in stem else np.arange(n) % 10
        content = gzip.compress(idx_bytes(array.astype(np.uint8)))
        (folder / f"{stem}.gz").write_bytes(content)
        digests[f"{stem}.gz"] = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(kmnist, "SHA256", digests)
    return folder


def test_kmnist_is_read_and_verified_compressed(small_kmnist: Path) -> None:
    splits = data.load("kmnist", data_dir=small_kmnist.parents[1], valid=1 / 6)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (50, 10, 20)
    assert splits.test.labels.tolist() == [*range(10)] * 2
    assert splits.classes[1] == "ki"

    path = small_kmnist / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros((20, 28, 28), dtype=np.uint8))))
    with pytest.raises(InputError) as error:
        data.load("kmnist", data_dir=small_kmnist.parents[1])
    assert str(error.value) == (
        f"{path} is corrupt or truncated (expected SHA-256 {kmnist.SHA256[path.name]}): delete it and run "
        "again with --download"
    )


def test_kmnist_unpacked_has_no_published_hash_and_is_not_looked_at(small_kmnist: Path) -> None:
    for path in list(small_kmnist.iterdir()):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
    with pytest.raises(InputError, match="kmnist is not complete"):
        data.load("kmnist", data_dir=small_kmnist.parents[1])


# CIFAR-10


@pytest.fixture
def small_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """The archive with 20 images a file, whose hash is made the one expected; its records of 3,073 bytes by file."""
    records = {}
    for name in (*cifar10.TRAIN, *cifar10.TEST):
        records[name] = RNG.integers(0, 256, (20, 3073), dtype=np.uint8)
        records[name][:, 0] = np.arange(20) % 10
    contents = {"cifar-10-batches-bin/batches.meta.txt": b"airplane\n"}
    contents |= {name: array.tobytes() for name, array in reversed(records.items())}
    monkeypatch.setattr(cifar10, "SHA256", tar(tmp_path / cifar10.ARCHIVE, contents))
    return records


def test_cifar10_is_read_in_its_channel_order(small_cifar: dict[str, np.ndarray], tmp_path: Path) -> None:
    splits = data.load("cifar10", data_dir=tmp_path, valid=0.2)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (80, 20, 20)
    assert splits.image_shape == (3, 32, 32)
    assert splits.classes[1] == "automobile"
    stored = small_cifar[cifar10.TEST[0]]
    red = torch.from_numpy(stored[:, 1 : 1 + 1024].copy()).reshape(20, 32, 32)  # rows of the red channel come first
    assert torch.equal(splits.test.images[:, 0], red)
    assert splits.test.images[3, 2, 31, 31] == stored[3, -1]
    assert splits.test.images.is_contiguous()
    assert splits.test.labels.tolist() == [*range(10)] * 2
    first = small_cifar[cifar10.TRAIN[0]][:, 1:].reshape(20, 3, 32, 32)
    official = cifar10.Cifar10().load(data.Source(tmp_path))
    assert torch.equal(official.train.images[:20], torch.from_numpy(first.copy()))


@pytest.mark.usefixtures("small_cifar")
def test_a_changed_archive_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / cifar10.ARCHIVE
    tar(path, {name: bytes(3073) for name in (*cifar10.TRAIN, *cifar10.TEST)})
    monkeypatch.setattr(tarfile, "open", None)
    with pytest.raises(InputError) as error:
        data.load("cifar10", data_dir=tmp_path)
    assert str(error.value) == (
        f"{path} is corrupt or truncated (expected SHA-256 {cifar10.SHA256}): delete it and run again with --download"
    )


def test_an_archive_is_never_unpacked_onto_the_disk(tmp_path: Path) -> None:
    """Also not where its members have names that lead elsewhere."""
    folder = tmp_path / "data"
    folder.mkdir()
    digest = tar(folder / "a.tar.gz", {"../outside": b"1", "/tmp/absolute": b"2", "wanted": b"345"})
    found = read_archive(folder / "a.tar.gz", digest, ["wanted", "../outside"], "")
    assert {name: array.tobytes() for name, array in found.items()} == {"wanted": b"345", "../outside": b"1"}
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "a.tar.gz"]
    with pytest.raises(InputError, match="expected an archive with missing"):
        read_archive(folder / "a.tar.gz", digest, ["wanted", "missing"], "get it again")


# STL-10


@pytest.fixture
def small_stl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """The archive, whose hash is made the one expected; its images by file, as they are stored."""
    images = {
        f"stl10_binary/{name}_X.bin": RNG.integers(0, 256, (count, 3, 96, 96), dtype=np.uint8)
        for name, count in (("test", 20), ("train", 20), ("unlabeled", 30))
    }
    labels = np.array([*range(1, 11)] * 2, dtype=np.uint8)
    contents = {name: array.tobytes() for name, array in images.items()}
    contents |= {"stl10_binary/train_y.bin": labels.tobytes(), "stl10_binary/test_y.bin": labels[::-1].tobytes()}
    monkeypatch.setattr(stl10, "SHA256", tar(tmp_path / stl10.ARCHIVE, contents))
    return images


def by_rows(images: np.ndarray) -> torch.Tensor:
    """Images that are stored by columns."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 1, 3, 2)))


def test_stl10_is_read_by_columns(small_stl: dict[str, np.ndarray], tmp_path: Path) -> None:
    splits = data.load("stl10", data_dir=tmp_path, valid=0.5)
    assert (len(splits.train), len(splits.valid), len(splits.test)) == (10, 10, 20)
    assert splits.image_shape == (3, 96, 96)
    assert torch.equal(splits.test.images, by_rows(small_stl["stl10_binary/test_X.bin"]))
    assert splits.test.labels.tolist() == [*range(9, -1, -1)] * 2


def test_stl10_with_its_unlabelled_images_holds_out_labelled_ones(
    small_stl: dict[str, np.ndarray], tmp_path: Path
) -> None:
    splits = data.load("stl10+unlabelled", data_dir=tmp_path, valid=0.5)
    assert (len(splits.train), len(splits.valid)) == (40, 10)
    assert sorted(splits.train.labels[:10].tolist()) == [*range(10)]
    assert (splits.train.labels[10:] == -1).all()
    assert sorted(splits.valid.labels.tolist()) == [*range(10)]
    assert torch.equal(splits.train.images[10:], by_rows(small_stl["stl10_binary/unlabeled_X.bin"]))


@pytest.mark.usefixtures("small_stl")
def test_a_truncated_archive_of_stl10_is_named_with_its_hash(tmp_path: Path) -> None:
    path = tmp_path / stl10.ARCHIVE
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError) as error:
        data.load("stl10", data_dir=tmp_path)
    assert str(error.value) == (
        f"{path} is corrupt or truncated (expected SHA-256 {stl10.SHA256}): delete it and run again with --download"
    )


# Missing

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


# Fetched

Answers = dict[str, tuple[int, dict[str, str], bytes]]


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
