"""Downloading data: only official files take their place."""

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from neuromorph.cli import main
from neuromorph.data import MNIST_FILES, data_folder, load_data
from neuromorph.errors import RecipeError
from neuromorph.fetch import fetch_mnist


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def served(tmp_path):
    """A local web server over a folder, and its address."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def official():
    """Folder of the official files, if they are on this machine."""
    for place in (data_folder() / "mnist", data_folder()):
        if all((place / name).exists() for name in MNIST_FILES):
            return place
    pytest.skip("MNIST is not here: no official files to serve")


def test_official_files_are_fetched_once_and_load(served, tmp_path):
    folder, address = served
    for name in MNIST_FILES:
        (folder / name).symlink_to((official() / name).resolve())
    home = tmp_path / "home"
    files = fetch_mnist(home, address=address)
    assert [f.name for f in files] == list(MNIST_FILES)
    assert load_data("mnist", home).classes == 10
    assert fetch_mnist(home, address=address) == []
    assert sorted(p.name for p in (home / "mnist").iterdir()) == sorted(MNIST_FILES)


def test_a_wrong_file_never_takes_its_place(served, tmp_path):
    folder, address = served
    for name in MNIST_FILES:
        (folder / name).write_bytes(b"something else")
    with pytest.raises(RecipeError, match="cannot be read: Not a gzipped file"):
        fetch_mnist(tmp_path / "home", address=address)
    assert not any(p.is_file() for p in (tmp_path / "home").rglob("*"))


def test_a_wrong_file_that_is_there_is_named(served, tmp_path):
    place = tmp_path / "home" / "mnist"
    place.mkdir(parents=True)
    (place / MNIST_FILES[0]).write_bytes(b"something else")
    with pytest.raises(RecipeError, match=MNIST_FILES[0]):
        fetch_mnist(tmp_path / "home", address=served[1])


def test_a_file_that_is_not_there(served, tmp_path):
    with pytest.raises(RecipeError) as error:
        fetch_mnist(tmp_path, address=served[1])
    assert str(error.value) == (
        f"cannot download {served[1]}/{MNIST_FILES[0]}: File not found; get the file by other "
        "means, or name another place with --from"
    )


def test_no_connection(tmp_path):
    with pytest.raises(RecipeError, match=r"cannot download http://127\.0\.0\.1:9/.*refused"):
        fetch_mnist(tmp_path, address="http://127.0.0.1:9")


def test_other_schemes_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="address is 'file:///etc'; it must start with http"):
        fetch_mnist(tmp_path, address="file:///etc")


def test_a_place_that_cannot_be_written(served, tmp_path):
    (tmp_path / "mnist").write_bytes(b"")
    with pytest.raises(RecipeError, match="cannot write"):
        fetch_mnist(tmp_path, address=served[1])


def test_commands(tmp_path):
    listed = CliRunner().invoke(main, ["data", "list", "--data", str(tmp_path)])
    assert listed.exit_code == 0
    assert "1,197 + 240 + 360" in listed.output
    assert "neuromorph data fetch mnist" in listed.output
    fetched = CliRunner().invoke(main, ["data", "fetch", "digits"])
    assert fetched.exit_code == 2
    assert "cannot fetch data set 'digits'; only mnist can be" in fetched.output
    assert Path("mnist").exists() is False
