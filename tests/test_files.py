"""Finding files, and saying why one cannot be read."""
import zipfile

import h5py
import numpy as np
import pytest

from data_processing import files
from data_processing.cube import write_cube
from data_processing.errors import UserError
from data_processing.files import expand, require_file, unreadable


def test_folders_globs_and_files_each_once_sorted_by_name(tmp_path):
    for name in ("b/2.nc", "a/3.nc", "a/deep/1.NC4", "a/notes.txt", "a/.hidden.nc", "a/pieces/4.nc"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    found = expand([tmp_path / "a", str(tmp_path / "b" / "*.nc"), str(tmp_path / "a" / "3.nc")], (".nc", ".nc4"))
    assert [path.name for path in found] == ["1.NC4", "2.nc", "3.nc"]


@pytest.mark.parametrize("name, message", [("", r"holds no file that ends in \.nc, \.nc4\. Name the folder"),
                                           ("none.nc", "none.nc: no such file or folder"),
                                           ("*.nc", r"\*\.nc: no such file or folder")])
def test_nothing_found_is_an_error(tmp_path, name, message):
    with pytest.raises(UserError, match=message):
        expand([tmp_path / name], (".nc", ".nc4"))


def _truncated_hdf5(path):
    with h5py.File(path, "w") as file:
        file["values"] = np.arange(1000)
    path.write_bytes(path.read_bytes()[:3000])


def _truncated_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.nc", b"x" * 5000)
    path.write_bytes(path.read_bytes()[:3000])


@pytest.mark.parametrize("make, message", [
    (lambda path: path.write_bytes(b""), "the file is empty. Delete it and download it again."),
    (lambda path: path.write_text("\n<!DOCTYPE html><title>Log in</title>"), "not data but a web page"),
    (lambda path: path.write_text('{"error": "quota exceeded"}'), 'a message of the service .*quota exceeded'),
    (lambda path: path.write_text("lat,lon,tp"), "neither NetCDF nor HDF5; it begins with 'lat,lon,tp'"),
    (_truncated_hdf5, "damaged or incomplete"), (_truncated_zip, "a damaged or incomplete ZIP file")])
def test_unreadable_says_in_one_line_what_the_file_is(tmp_path, make, message):
    path = tmp_path / "download.nc"
    make(path)
    error = unreadable(path, OSError("the library's words\nin two lines"))
    assert isinstance(error, UserError) and str(error).startswith(f"{path}: ")
    assert "\n" not in str(error)
    with pytest.raises(UserError, match=message):
        raise error


def test_folder_in_the_place_of_a_file_is_named_with_what_it_holds(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "cube.nc").write_bytes(b"")
    require_file("data/cube.nc", "cube is data/cube.nc", "Give a file.")
    with pytest.raises(UserError, match="^cube is data: that is a folder, which holds cube.nc. Give a file.$"):
        require_file("data", "cube is data", "Give a file.")
    with pytest.raises(UserError, match=rf"^cube is smap.nc: no such file here \({tmp_path}\). Give a file.$"):
        require_file("smap.nc", "cube is smap.nc", "Give a file.")
    with pytest.raises(UserError, match=r"^cube is data/cueb.nc \(did you mean cube.nc\?\): no such file"):
        require_file("data/cueb.nc", "cube is data/cueb.nc", "Give a file.")
    with pytest.raises(UserError, match=r"^cube is tiwn \(did you mean twin\?\): no such file"):
        require_file("tiwn", "cube is tiwn", "Give a file.", ("twin",))


def test_a_heap_that_goes_beyond_what_is_looked_at_is_left_to_the_library(tmp_path, monkeypatch):
    """A good file is not refused because HEAP_BYTES end within its heap."""
    path = tmp_path / "cube.nc"
    write_cube(path, np.full((3, 3, 2, 2), 0.2, np.float32), np.datetime64("2020-01-01") + np.arange(3), np.array([30.0, 31.0]),
               np.array([100.0, 101.0]),
               {"title": "a", "source": "b"})
    heap = path.read_bytes().index(files.HEAP_SIGNATURE)
    monkeypatch.setattr(files, "HEAP_BYTES", heap + 40)
    files.check_netcdf(path)
