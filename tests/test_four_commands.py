"""From an account at the data centres to a trained model: every command of the README as a process of its own.

The services are stand-ins on the loopback address; they deliver the synthetic twin in the products' own layouts.
"""
import csv
import io
import os
import shutil
import subprocess
import sys

import h5py
import netCDF4
import numpy as np
import pytest
from cds_stand_in import TOKEN as KEY
from cds_stand_in import running_store
from conftest import ROOT
from earthdata_stand_in import TOKEN, EarthdataStandIn, make_certificate

from data_processing.download_era5_land import NETCDF_LOCK
from data_processing.regrid import EASE_CELL, EASE_COLUMNS, EASE_ROWS, ease_cells
from data_processing.write_twin_files import Content, granule_stamps, read_domain, write_granules, write_months

BOX = (31.0, 116.0, 26.0, 123.0)  # north, west, south, east, degrees
SMAP_DAYS = np.datetime64("2015-04-01"), np.datetime64("2015-07-31")
ERA5_DAYS = np.datetime64("2014-06-01"), np.datetime64("2015-03-29")
SHORT_NAMES = {"volumetric_soil_water_layer_1": "swvl1", "soil_temperature_level_1": "stl1",
               "total_precipitation": "tp"}


def whole_granule(path):
    """Bytes of a granule of the whole globe with the fields of a subset; what lies outside the subset is missing."""
    whole = h5py.File(io.BytesIO(), "w")
    with h5py.File(path) as subset, whole:
        columns, rows = ease_cells(9, subset["x"][:], subset["y"][:])
        for name, count, sign in (("y", EASE_ROWS[9], -1), ("x", EASE_COLUMNS[9], 1)):
            whole[name] = sign * (np.arange(count) - (count - 1) / 2) * EASE_CELL[9]
            whole[name].make_scale(name)
            whole[name].attrs["units"] = np.bytes_("m")
        whole.attrs["title"] = subset.attrs["title"]
        for name, field in subset["Geophysical_Data"].items():
            copy = whole.create_dataset(f"Geophysical_Data/{name}", (EASE_ROWS[9], EASE_COLUMNS[9]), "f4",
                                        chunks=(64, 64), fillvalue=-9999)
            copy[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1] = field[:]
            copy.attrs["units"] = field.attrs["units"]
            for axis, scale in enumerate("yx"):
                copy.dims[axis].attach_scale(whole[scale])
        whole.flush()
        return whole.id.get_file_image()


def month_of_twin(domain, folder, inputs):
    """Bytes of what the Climate Data Store would deliver for a request: a month of one variable as a ZIP called .nc."""
    stamps = [np.datetime64(f"{inputs['year']}-{inputs['month'][0]}-{day}T{time}", "h")
              for day in inputs["day"] for time in inputs["time"]]
    name = SHORT_NAMES[inputs["variable"][0]]
    path = folder / f"{name}_{stamps[0]}.nc"
    with NETCDF_LOCK:
        write_months({path: Content((name,), np.array(stamps), "zip")}, domain, inputs["area"])
    return path.read_bytes()


@pytest.mark.slow
def test_four_commands_lead_from_an_account_to_a_trained_model(tmp_path):
    if not shutil.which("openssl"):
        pytest.skip("the command openssl, which makes the certificate, is not here")
    certificate, key = make_certificate(tmp_path)
    delivered = tmp_path / "delivered"
    delivered.mkdir()
    stamps = granule_stamps(delivered, *SMAP_DAYS)
    write_granules(stamps, read_domain("smap_l4", *SMAP_DAYS), BOX)
    era5 = read_domain("era5_land", ERA5_DAYS[0] - 1, ERA5_DAYS[1] + 1)
    earthdata = EarthdataStandIn(certificate, key)
    earthdata.files = {path.name: whole_granule(path) for path in stamps}
    home = tmp_path / "home"
    home.mkdir()

    def run(script, *arguments):
        done = subprocess.run([sys.executable, ROOT / script, *map(str, arguments)], cwd=tmp_path, capture_output=True,
                              text=True, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with running_store() as store:
        store.content = lambda dataset, inputs: month_of_twin(era5, delivered, inputs)
        environment = os.environ | {"HTTPS_PROXY": earthdata.address, "REQUESTS_CA_BUNDLE": str(certificate),
                                    "EARTHDATA_TOKEN": TOKEN, "CDSAPI_URL": f"{store.address}/api", "CDSAPI_KEY": KEY,
                                    "NO_PROXY": "127.0.0.1", "HOME": str(home)}
        days = ["--first-day", SMAP_DAYS[0], "--last-day", SMAP_DAYS[1]]
        run("data_processing/download_smap_l4.py", *days, "--box", *BOX, "--version", "007", "--stream",
            "--folder", "granules")
        run("data_processing/prepare_smap_l4.py", "granules", "--grid", "36km", "--output", "smap/smap_l4.nc")
        days = ["--first-day", ERA5_DAYS[0], "--last-day", ERA5_DAYS[1]]
        run("data_processing/download_era5_land.py", *days, "--box", *BOX, "--folder", "downloads")
        run("data_processing/prepare_era5_land.py", "downloads", "--like", "smap/smap_l4.nc", "--output",
            "era5/era5_land.nc")
    earthdata.close()
    with netCDF4.Dataset(tmp_path / "smap/smap_l4.nc") as smap, netCDF4.Dataset(tmp_path / "era5/era5_land.nc") as land:
        np.testing.assert_array_equal(smap["lat"][:], land["lat"][:])
        np.testing.assert_array_equal(smap["lon"][:], land["lon"][:])
        for cube, (first, last) in ((smap, SMAP_DAYS), (land, ERA5_DAYS)):
            assert list(cube["time"][[0, -1]]) == [first.astype(int), last.astype(int)]
            seen = ~np.isnan(np.ma.filled(cube["soil_moisture"][:], np.nan))
            assert 100 < seen[0].sum() < seen[0].size  # land and sea
            for name in ("precipitation", "soil_moisture", "soil_temperature"):
                values = np.ma.filled(cube[name][:], np.nan)
                assert np.isfinite(values[seen]).all(), name

    run("finetune-SMAPtest/convlstm.py", "--cube", "smap/smap_l4.nc", "--source-cube", "era5/era5_land.nc", "--steps",
        40, "--results", "results")
    metrics = tmp_path / "results/finetune-SMAPtest/convlstm/smap_l4/lead3/metrics.csv"
    rows = {row["forecaster"]: row for row in csv.DictReader(metrics.open())}
    assert set(rows) == {"convlstm", "persistence", "damped_persistence", "climatology"}
    assert float(rows["convlstm"]["rmse_pooled"]) < 0.1
