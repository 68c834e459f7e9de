"""The textbook's data: from a folder, or downloaded once; every failure is one sentence."""

import hashlib
import http.server
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from surefoot.data import DataError, airfoil, airfoil_textbook, load

needs_data = pytest.mark.skipif(
    not os.path.exists(os.path.join(os.environ.get("SUREFOOT_DATA", ""), airfoil.FILE)),
    reason=f"SUREFOOT_DATA names no folder with {airfoil.FILE}",
)
TABLE = np.random.default_rng(0).normal(3, 2, (1503, 6))


@needs_data
def test_the_textbooks_rows():
    X, y = airfoil_textbook()
    assert (X.shape, y.shape, X.dtype, y.dtype) == ((1500, 5), (1500,), np.float64, np.float64)
    # Published least-squares optimum and condition number of this loss.
    with_bias = np.column_stack([X, np.ones(len(y))])
    residual = y - with_bias @ np.linalg.lstsq(with_bias, y)[0]
    assert np.mean(residual**2) / 2 == pytest.approx(0.24169, abs=5e-6)
    assert np.linalg.cond(with_bias.T @ with_bias) == pytest.approx(12.1, abs=0.05)


@needs_data
def test_the_file_is_the_textbooks():
    content = Path(os.environ["SUREFOOT_DATA"], airfoil.FILE).read_bytes()
    assert hashlib.sha256(content).hexdigest() == airfoil.SHA256
    assert hashlib.sha1(content).hexdigest() == "76e5be1548fd8222e5074cf0faae75edff8cf93f"


@needs_data
def test_as_a_data_set():
    data = load("airfoil")
    assert (data.task, data.X.shape, data.X.dtype, len(data.test)) == ("regression", (1500, 5), np.float32, 300)
    np.testing.assert_array_equal(data.X, airfoil_textbook()[0].astype(np.float32))
    with pytest.raises(DataError, match=r"airfoil: is a regression data set, found task 'classification'"):
        load("airfoil", task="classification")


@pytest.fixture
def content(tmp_path, monkeypatch):
    """A stand-in for the file, with its checksum, an empty cache and no folder named."""
    pytest.importorskip("pooch")
    np.savetxt(tmp_path / "table", TABLE, delimiter="\t", newline="\r\n")
    content = (tmp_path / "table").read_bytes()
    monkeypatch.setattr(airfoil, "SHA256", hashlib.sha256(content).hexdigest())
    monkeypatch.setattr("pooch.os_cache", lambda name: tmp_path / "cache" / name)
    monkeypatch.delenv("SUREFOOT_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "*")
    return content


@pytest.fixture
def serve(monkeypatch):
    """Serve bytes (or a status) on this machine in the place of the textbook's copy; count the requests."""
    servers = []

    def start(answer):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                server.requests += 1
                self.send_response(answer if isinstance(answer, int) else 200)
                self.end_headers()
                self.wfile.write(b"" if isinstance(answer, int) else answer)

            def log_message(self, *args):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        server.requests = 0
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        servers.append(server)
        monkeypatch.setattr(airfoil, "URL", f"http://127.0.0.1:{server.server_port}/{airfoil.FILE}")
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_downloaded_once(content, serve):
    server = serve(content)
    X, y = airfoil_textbook()
    np.testing.assert_array_equal(airfoil_textbook()[0], X)
    assert server.requests == 1
    whitened = (TABLE - TABLE.mean(axis=0)) / TABLE.std(axis=0)
    np.testing.assert_allclose(np.column_stack([X, y]), whitened[:1500], rtol=1e-12)


def test_the_folder_is_tried_before_the_network(content, serve, tmp_path, monkeypatch):
    server = serve(404)
    (tmp_path / airfoil.FILE).write_bytes(content)
    monkeypatch.setenv("SUREFOOT_DATA", str(tmp_path))
    assert airfoil_textbook()[0].shape == (1500, 5)
    assert server.requests == 0


def test_no_network(content, monkeypatch):
    monkeypatch.setattr(airfoil, "URL", f"http://127.0.0.1:9/{airfoil.FILE}")
    with pytest.raises(DataError, match=r"could not download .*ConnectionError.*go online once, or .*SUREFOOT_DATA"):
        airfoil_textbook()


def test_no_network_and_a_folder_without_the_file(content, tmp_path, monkeypatch):
    monkeypatch.setattr(airfoil, "URL", f"http://127.0.0.1:9/{airfoil.FILE}")
    monkeypatch.setenv("SUREFOOT_DATA", str(tmp_path / "elsewhere"))
    with pytest.raises(DataError, match=r"or put airfoil_self_noise\.dat in .*elsewhere \(SUREFOOT_DATA\)"):
        airfoil_textbook()


def test_the_server_has_no_such_file(content, serve):
    serve(404)
    with pytest.raises(DataError, match=r"could not download .*HTTPError"):
        airfoil_textbook()


def test_a_login_page_instead_of_the_file(content, serve, tmp_path):
    serve(b"<html>please log in</html>")
    with pytest.raises(DataError, match=r"wrong checksum .*proxy or login page"):
        airfoil_textbook()
    assert not (tmp_path / "cache" / "surefoot" / airfoil.FILE).exists()


def test_a_cache_without_write_permission(content, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pooch.retrieve", refuse)
    with pytest.raises(DataError, match=r"no permission to write to .*cache"):
        airfoil_textbook()


def test_without_pooch(content, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(
        DataError, match=r'downloading needs pooch; run pip install "surefoot\[lab\]", or set SUREFOOT_DATA'
    ):
        airfoil_textbook()


@pytest.mark.parametrize("said, damage", [("found sha256 .*expected", b"1\t2\n"), ("is empty", b"")])
def test_another_file_in_the_folder(said, damage, content, tmp_path, monkeypatch):
    (tmp_path / airfoil.FILE).write_bytes(damage)
    monkeypatch.setenv("SUREFOOT_DATA", str(tmp_path))
    with pytest.raises(DataError, match=f"{airfoil.FILE}: {said}"):
        airfoil_textbook()
