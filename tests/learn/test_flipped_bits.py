"""One bit of a model file or a checkpoint that is not as it was written: one sentence, or the very same content."""

import json

import numpy as np
import pytest

from surefoot.learn import storage

ARRAYS = {
    "bank.ids": np.arange(3, 9),
    "weights": np.linspace(-1, 1, 6, dtype=np.float32)[:, None],
    "names.text": np.frombuffer(b"abc", np.uint8),
    "means": np.linspace(0, 1e9, 3),
    "rows": np.arange(4, dtype=np.int32),
}
FACTS = {"loss": "logistic", "classes": [-1.0, 1.0], "reading": {"bits": None}, "seconds": 0.25}


def content(path, kind):
    arrays, facts = storage.read(path, kind)
    return {name: (array.dtype.str, array.shape, array.tobytes()) for name, array in arrays.items()}, facts


@pytest.fixture(autouse=True)
def _no_syncs(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda file: None)


@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 41])
@pytest.mark.parametrize("kind", storage.REMEDIES)
def test_a_flipped_bit_is_found(kind, every, tmp_path):
    """In every byte: those of the arrays, of the facts, of the checksum itself and of the header around them."""
    path = tmp_path / "file"
    storage.write(path, kind, ARRAYS, FACTS)
    before, written = content(path, kind), path.read_bytes()
    outcomes = []
    for place in range(0, 8 * len(written), every):
        flipped = bytearray(written)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            outcomes.append(content(path, kind))
        except storage.FileError as error:
            outcomes.append(str(error))
    said = [text for text in outcomes if isinstance(text, str)]
    assert all(text.startswith(f"{path}: ") for text in said)
    accepted = [found for found in outcomes if not isinstance(found, str)]
    assert all(found == before for found in accepted)
    assert len(accepted) < 160  # blanks of the header, which stand for nothing


@pytest.mark.parametrize("kind", storage.REMEDIES)
@pytest.mark.parametrize("edit", [*ARRAYS, "facts", "no checksum", "another checksum"])
def test_what_another_program_wrote_is_rejected(kind, edit, tmp_path):
    """Values of the right kind in another order, or facts that are as good, without the checksum of them."""
    safetensors = pytest.importorskip("safetensors")
    from safetensors.numpy import save_file

    path = tmp_path / "file"
    storage.write(path, kind, ARRAYS, FACTS)
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata, arrays = dict(file.metadata()), {name: file.get_tensor(name) for name in ARRAYS}
    save_file(arrays, path, metadata)
    assert content(path, kind)[1] == FACTS  # the same content may be written by any program
    if edit in ARRAYS:
        arrays[edit] = np.ascontiguousarray(arrays[edit][::-1])
    elif edit == "facts":
        metadata["facts"] = json.dumps(FACTS | {"seconds": 0.5}, sort_keys=True)
    elif edit == "no checksum":
        del metadata["checksum"]
    else:
        metadata["checksum"] = "0" * 64
    save_file(arrays, path, metadata)
    words = rf"^{path}: checksum mismatch, the file is corrupt; copy it again, or {storage.REMEDIES[kind]}$"
    with pytest.raises(storage.FileError, match=words):
        storage.read(path, kind)
