"""URLs: read like files where their packages are installed, and without secrets in whatever is stored or printed."""

import base64
import contextlib
import gzip
import http.server
import io
import threading
from pathlib import Path
from typing import ClassVar

import pytest

from surefoot import cli
from surefoot.data import DataError
from surefoot.data.reading import ReadOptions
from surefoot.data.stream import joined, read, sources
from surefoot.data.stream.sources import remote
from surefoot.learn.plan import CHECKPOINT, Plan
from surefoot.learn.settings import Method
from surefoot.learn.training import Interrupted, Training

fsspec = pytest.importorskip("fsspec")

LINES = b"1 1:1 2:0.5\n-1 2:1\n" * 300
TABLE = b"y,x\n" + b"0,1\n1,2\n" * 50


class Handler(http.server.BaseHTTPRequestHandler):
    """Files in memory; of those below /parts, parts are sent, too, and of those below /streams, no size."""

    files: dict[str, bytes]
    seen: list[str | None]

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        self.seen.append(self.headers["Authorization"])
        path, _, query = self.path.partition("?")
        if path.startswith("/private") and query != "X-Signature=SECRET2":
            self.send_error(403)
            return
        if path not in self.files:
            self.send_error(404)
            return
        content, begin, parts = self.files[path], 0, path.startswith("/parts")
        end = len(content)
        if parts and (wanted := self.headers["Range"]):
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(int(last) + 1, end) if last else end
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(content)}")
        else:
            self.send_response(200)
        if parts:
            self.send_header("Accept-Ranges", "bytes")
        if not path.startswith("/streams"):
            self.send_header("Content-Length", str(end - begin))
        self.end_headers()
        if body:
            with contextlib.suppress(OSError):
                self.wfile.write(content[begin : end if "cut" not in path else end - 100])
                if "cut" in path:
                    self.connection.close()

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    """The address of a server on this machine."""
    pytest.importorskip("aiohttp", reason="the extra table brings it")

    class Own(Handler):
        seen: ClassVar = []
        files: ClassVar = {
            f"/{place}/{name}": content
            for place in ("whole", "parts", "streams", "private")
            for name, content in FILES.items()
        }

    own = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Own)
    own.seen = Own.seen
    threading.Thread(target=own.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield own
    own.shutdown()
    own.server_close()


def parquet() -> bytes:
    try:
        import pyarrow
        from pyarrow.parquet import write_table
    except ImportError:
        return b""
    stream = io.BytesIO()
    write_table(pyarrow.table({"y": [0, 1] * 50, "x": [1, 2] * 50}), stream)
    return stream.getvalue()


FILES = {
    "a.svm": LINES,
    "a.svm.gz": gzip.compress(LINES),
    "a": LINES,
    "cut.svm": LINES,
    "a.csv": TABLE,
    "a.parquet": parquet(),
    "b.svm": b"1 7:1\n",
}


def address(server, path: str, user: str = "") -> str:
    return f"http://{user}127.0.0.1:{server.server_port}/{path}"


@pytest.mark.parametrize("place", ["whole", "parts", "streams"])
@pytest.mark.parametrize("name", ["a.svm", "a.svm.gz", "a"])
def test_http_is_read_like_a_file(server, place, name):
    for url in (f"{place}/{name}", f"{place}/{name}?X-Amz-Signature=x", f"{place}/{name}?a=[1]*"):
        stream = read(address(server, url))
        assert len(joined(list(stream))) == 600
        assert len(joined(list(stream))) == 600  # every pass is a request of its own


def test_tables_of_http(server):
    for url in ("whole/a.csv", "parts/a.csv", "streams/a.csv", "parts/a.parquet"):
        if FILES[url.partition("/")[2]]:
            stream = ReadOptions(target="y").open(address(server, url))
            assert len(joined(list(stream))) == 100
    if FILES["a.parquet"]:
        with pytest.raises(DataError, match=r"a\.parquet: its server does not send parts of files"):
            ReadOptions(target="y").open(address(server, "streams/a.parquet"))


def test_a_user_and_a_signature_reach_the_server(server):
    assert len(joined(list(read(address(server, "private/a.svm?X-Signature=SECRET2", "bob:SECRET1@"))))) == 600
    assert {*server.seen} == {f"Basic {base64.b64encode(b'bob:SECRET1').decode()}"}


@pytest.mark.parametrize(
    "path, said",
    [
        ("whole/nothing.svm", "there is no such file; check the name and the folder"),
        ("private/a.svm", r"could not be read \(403"),
        ("whole/cut.svm", "could not be read "),
    ],
)
def test_what_a_server_says_becomes_one_sentence(server, path, said):
    with pytest.raises(DataError, match=rf"^http://127\.0\.0\.1:\d+/{path}: {said}") as error:
        list(read(address(server, f"{path}?sig=SECRET2", "bob:SECRET1@")))
    assert "SECRET" not in str(error.value)


def test_a_server_that_cannot_be_reached_is_not_a_missing_file():
    pytest.importorskip("aiohttp", reason="the extra table brings it")
    with pytest.raises(DataError, match=r"^http://127\.0\.0\.1:9/a\.svm: could not be read \(Cannot connect"):
        list(read("http://bob:SECRET@127.0.0.1:9/a.svm?sig=SECRET"))


def test_nothing_that_is_stored_or_printed_has_a_secret(server, tmp_path, capsys, monkeypatch):
    """Models, reports, checkpoints, caches, results, notes and errors; the training is interrupted and resumed."""
    monkeypatch.chdir(tmp_path)
    urls = [address(server, f"private/{name}?X-Signature=SECRET2", "bob:SECRET1@") for name in ("a.svm", "b.svm")]
    plan = {"files": tuple(urls), "checkpoint": "kept", "every": 1, "method": Method(lr=0.1)}

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(Interrupted):
        Training(Plan(**plan), stop).run()
    assert (Path("kept") / CHECKPOINT).exists()
    kept = (Path("kept") / CHECKPOINT).read_bytes()
    pytest.importorskip("jinja2")
    command = ["train", *urls, "-m", "m", "--lr", "0.1", "--checkpoint", "kept", "--every=1", "--resume"]
    assert cli.run([*command, "--report", "r.html", "--test", urls[0]]) == 0
    assert cli.run([*command[:4], "m2", "--json"]) == 0
    assert cli.run(["inspect", "m"]) == cli.run(["inspect", "m", "--json"]) == 0
    assert cli.run(["convert", *urls, "-o", "c"]) == 0
    assert cli.run(["predict", "m", urls[0], "-o", "p"]) == 0
    assert cli.run(["train", urls[0].replace("a.svm", "x.svm"), "-m", "m3"]) == 2
    assert cli.run(["train", urls[0].replace("a.svm", "a*.svm"), "-m", "m3"]) == 2
    assert cli.run(["train", urls[0], "-m", "m3", "--loss", "nonsense"]) == 2
    assert cli.run(["train", urls[0], "--test", f"{urls[1]}&x", "-m", "m3"]) == 2
    assert cli.run(["predict", urls[0], urls[1]]) == 2
    assert cli.run(["compare", urls[0]]) == 2
    assert cli.run([urls[0]]) == 2
    out, err = capsys.readouterr()
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 5
    for text in (out.encode(), err.encode(), kept, *written):
        assert b"SECRET" not in text
        assert b"bob" not in text
    assert f"http://127.0.0.1:{server.server_port}/private/a.svm" in out


# Packages that are missing


@pytest.mark.parametrize(
    "url, line",
    [
        ("http://bob:SECRET@host/a.svm", 'pip install "surefoot[table]"'),
        ("https://host/a.svm?sig=SECRET", 'pip install "surefoot[table]"'),
        ("s3://key:SECRET@bucket/a.svm", 'pip install "fsspec[s3]"'),
        ("s3a://key:SECRET@bucket/part-*", 'pip install "fsspec[s3]"'),
        ("gs://bucket/a.svm", 'pip install "fsspec[gs]"'),
        ("az://box/a.svm", 'pip install "fsspec[abfs]"'),
        ("simplecache::s3://key:SECRET@bucket/a.svm", 'pip install "fsspec[s3]"'),
    ],
)
def test_a_missing_package_is_named(url, line, monkeypatch, tmp_path, capsys):
    def missing(*_, **__):
        raise ImportError("Install something to access SECRET".replace("SECRET", "it"))

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    monkeypatch.setattr(fsspec, "open", missing)
    assert cli.run(["train", url, "-m", str(tmp_path / "m")]) == 2
    err = capsys.readouterr().err
    assert err.endswith(f"run {line}\n")
    assert "SECRET" not in err


@pytest.mark.parametrize(
    "url", ["reference://x", "jupyter://x", "github://x", "data:x://", "://", "a://b::c://d", "::://"]
)
def test_whatever_a_file_system_raises_is_one_sentence(url):
    with pytest.raises(DataError, match=r"^[^\n]+$"):
        list(read(url))


def test_errors_of_any_kind_while_reading_are_one_sentence(monkeypatch):
    class Failing:
        size = 3

        def __init__(self):
            self.left = 2

        def seekable(self):
            return True

        def read(self, size):
            self.left -= 1
            if not self.left:
                raise RuntimeError("connection to http://bob:SECRET@host lost")
            return b"1 1:1\n"

        def seek(self, *_):
            raise KeyError

        def close(self):
            pass

    monkeypatch.setattr(
        remote, "imported", lambda: type("fs", (), {"open": lambda *_: type("f", (), {"open": Failing})})
    )
    with pytest.raises(DataError, match=r"m://x: could not be read \(connection to http://host lost\)"):
        list(read("m://x", "svmlight"))


@pytest.mark.parametrize(
    "url, pattern",
    [
        ("http://host/a.svm?b=*", False),
        ("http://host/a*.svm?b=c", True),
        ("https://host/a.svm#[x]", False),
        ("s3://bucket/a?.svm", True),
        ("s3://bucket/year=*/a.svm", True),
        ("zip://*.csv::http://host/a.zip?b", True),
        ("simplecache::http://host/a.svm?b", False),
    ],
)
def test_a_question_mark_of_http_begins_its_query(url, pattern):
    assert remote.has_pattern(url) == pattern


def test_a_url_is_the_same_with_another_signature():
    one, other = (sources.Identity.of(f"https://bob:{k}@host/a.svm?sig={k}") for k in "ab")
    assert one == other == sources.Identity("https://host/a.svm", "https://host/a.svm")
    assert one.is_same(other)
