"""NASA's airfoil self-noise measurements, the data of the textbook's optimization chapters.

Source: T. F. Brooks, D. S. Pope, M. A. Marcolini, "Airfoil self-noise and prediction", NASA RP-1218, 1989; UCI Machine
Learning Repository; whitened as in *Dive into Deep Learning*, "Minibatch Stochastic Gradient Descent".
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np

from surefoot.data.dataset import Dataset
from surefoot.data.errors import DataError
from surefoot.data.files import first_bytes

FILE = "airfoil_self_noise.dat"
URL = f"http://d2l-data.s3-accelerate.amazonaws.com/{FILE}"
# Of the file whose sha1 the textbook states, 76e5be1548fd8222e5074cf0faae75edff8cf93f.
SHA256 = "74c75fd71783f1e6b71f8a622b993dc592897a97cd689c5090a07147a1b097b3"

_FEATURES = ("frequency", "angle of attack", "chord length", "free-stream velocity", "displacement thickness")
_TEXTBOOK_ROWS = 1500
_SECONDS_TO_ANSWER = 20


def airfoil_textbook() -> tuple[np.ndarray, np.ndarray]:
    """The textbook's training set: 1,500 rows, every column whitened over all 1,503.

    Returns:
        X, float64 1,500 × 5, and y, float64 of length 1,500: mean 0 and (population) standard deviation 1.

    Raises:
        DataError: the file is neither in the folder SUREFOOT_DATA nor can be downloaded, or is not the textbook's.
    """
    table = np.loadtxt(_path(), delimiter="\t")
    table = (table - table.mean(axis=0)) / table.std(axis=0)
    table = table[:_TEXTBOOK_ROWS]
    return np.ascontiguousarray(table[:, :-1]), table[:, -1].copy()


def load() -> Dataset:
    """The textbook's 1,500 rows for regression, a fifth of them held out; dense float32.

    Whitening uses all rows, as in the textbook, so means and deviations (not targets) of held-out rows are known.

    Raises:
        DataError: as `airfoil_textbook`.
    """
    X, y = airfoil_textbook()
    return Dataset("airfoil", X.astype(np.float32), y.astype(np.float32), "regression", feature_names=_FEATURES)


def _path() -> Path:
    path = Path(os.environ.get("SUREFOOT_DATA", ""), FILE)
    if "SUREFOOT_DATA" not in os.environ or not os.path.exists(path):
        return _download()
    first_bytes(path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SHA256:
        raise DataError(
            f"{path}: found sha256 {found[:12]}…, expected {SHA256[:12]}… (the textbook's copy); "
            f"replace it, or unset SUREFOOT_DATA to have that copy downloaded"
        )
    return path


def _download() -> Path:
    folder = os.environ.get("SUREFOOT_DATA")
    remedy = f"put {FILE} in {folder} (SUREFOOT_DATA)" if folder else f"set SUREFOOT_DATA to a folder with {FILE}"
    try:
        import pooch
    except ImportError:
        raise DataError(f'airfoil: downloading needs pooch; run pip install "surefoot[lab]", or {remedy}') from None
    cache = pooch.os_cache("surefoot")
    downloader = pooch.HTTPDownloader(timeout=_SECONDS_TO_ANSWER)
    try:
        # pooch's own protocol for downloaders names arguments otherwise than its own downloaders do.
        file = pooch.retrieve(URL, f"sha256:{SHA256}", FILE, cache, downloader=downloader)  # pyright: ignore[reportArgumentType]
    except PermissionError:
        raise DataError(f"airfoil: no permission to write to {cache}; allow it, or {remedy}") from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DataError(f"airfoil: could not download {URL} ({reason}); go online once, or {remedy}") from None
    except ValueError:
        raise DataError(
            f"airfoil: what {URL} sent has the wrong checksum (a proxy or login page may have answered); "
            f"try another network, or {remedy}"
        ) from None
    return Path(file)
