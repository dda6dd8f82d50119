"""Where the source files of a dataset come from."""

import functools
import http.server
import threading

import pytest

from cnn.data.sources.mnist_cifar import Remote
from cnn.data.types import DataError
from data_files import CLOSED, IMAGES, load_from, pairs, prepare_from, remotes_of, write_mnist


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


def test_each_dataset_may_have_its_own_folder_in_the_manual_one(tmp_path):
    remotes = {}
    for seed, name in enumerate(("mnist", "kmnist")):
        write_mnist(tmp_path / "files" / name, seed)
        remotes[name] = remotes_of(tmp_path / "files" / name)
    for name, known in remotes.items():
        prepare_from(tmp_path / "files", tmp_path / "root", name, remotes=known)
    first, second = (load_from(tmp_path / "root", name) for name in remotes)
    assert first.identity != second.identity


def test_files_are_fetched_once_and_checked(tmp_path):
    splits = write_mnist(tmp_path / "files")
    handler = functools.partial(QuietHandler, directory=str(tmp_path / "files"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        remotes = remotes_of(tmp_path / "files", f"http://127.0.0.1:{server.server_address[1]}/")
        prepare_from(tmp_path / "files", tmp_path / "root", manual_dir="", remotes=remotes)
        wrong = {**remotes, "t10k-labels-idx1-ubyte.gz": Remote(remotes[IMAGES].url, 5, "0" * 64)}
        with pytest.raises(
            DataError, match=r"manual_dir: mnist .*images-idx3-ubyte\.gz sent another file than TFDS kn"
        ):
            prepare_from(tmp_path / "files", tmp_path / "other", manual_dir="", remotes=wrong)
        server.shutdown()
    train = load_from(tmp_path / "root").train
    assert pairs(train.images, train.labels) == pairs(*splits["train"])
    downloads = tmp_path / "root/downloads/mnist"
    assert sorted(path.name for path in downloads.iterdir()) == sorted(remotes)
    (tmp_path / "again").mkdir()
    downloads.parent.rename(tmp_path / "again/downloads")
    prepare_from(tmp_path / "files", tmp_path / "again", manual_dir="", remotes=remotes_of(tmp_path / "files"))
    assert len(load_from(tmp_path / "again").test) == 20


def test_without_a_network_the_error_says_all_that_helps(tmp_path):
    write_mnist(tmp_path / "files")
    with pytest.raises(DataError) as caught:
        prepare_from(tmp_path / "files", tmp_path / "root", manual_dir="")
    for part in ("config.data.manual_dir: mnist is not prepared", "Connection refused", "--config.data.manual_dir=DIR"):
        assert part in str(caught.value)
    for file in remotes_of(tmp_path / "files"):
        assert file in str(caught.value)
    assert str(caught.value).count(CLOSED) == 1 and f"(from {CLOSED})" in str(caught.value)
    assert "--config=configs/digits.py needs no network" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_load_looks_for_the_files_that_tfds_knows(tmp_path):
    write_mnist(tmp_path / "files")
    with pytest.raises(
        DataError, match=r"not the file that TFDS knows as .*gz of mnist, got .*gz' with SHA-256 [0-9a-f]"
    ):
        load_from(tmp_path / "root", manual_dir=str(tmp_path / "files"))
    address = r"https://www\.cs\.toronto\.edu/~kriz/"
    with pytest.raises(
        DataError, match=rf"lacks 1 source file\(s\) of cifar10, got .*Put there cifar-10.*\(from {address}\)"
    ):
        load_from(tmp_path / "root", "cifar10", manual_dir=str(tmp_path / "files"))
