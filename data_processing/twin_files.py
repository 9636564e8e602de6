"""Small files in the layouts of SMAP L4 (SPL4SMGP) and ERA5-Land, to try the readers on without an account.

Only the layout is real: whoever calls gives the values and a title that says what they are. Groups, names,
attributes, storage and traps follow the producers' own files as far as the readers meet them.
"""

import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import netCDF4
import numpy as np

from data_processing.files import new_hdf5, replacing
from data_processing.regrid import EASE_CELL, EASE_COLUMNS, EASE_ROWS, ease_grid

# ------------------------------------------------------------------------------------------ SMAP L4, SPL4SMGP
# Layout of all of it: GEOS-ESM/SMAP_L4_Ops, HDF5FormatMod.F90 and GPH_local_meta.nml; user guide of the product:
# https://nsidc.org/data/spl4smgp
SCIENCE_IDS = {1: "Vb1010", 2: "Vv2030", 3: "Vv3030", 4: "Vv4030", 5: "Vv5030", 6: "Vv6032", 7: "Vv7032",
               8: "Vv8011"}
"""Product version -> identifier in file names and metadata."""
FIRST_WITH_AXES = 4  # version: x, y and the projection exist
FIRST_SHAVED = 7  # version: the last bits of the fields are cleared
SHAVED_BITS = 12
MISSING = np.float32(-9999)
MISSING_INDEX = np.uint32(4294967294)
NOON_2000 = np.datetime64("2000-01-01T12:00:00")
GRANULE_FIELDS = {
    "sm_surface": ("Top layer soil moisture (0-5 cm)", "m3 m-3", 0.0, 0.9),
    "soil_temp_layer1": ("Soil temperature in layer 1 of soil heat diffusion model", "K", 210.0, 340.0),
    "precipitation_total_surface_flux": ("Total surface precipitation (incl. snow fall)", "kg m-2 s-1", 0.0, 0.05),
}
"""Field -> long name, unit, valid range."""


def granule_name(stamp: np.datetime64, version: int = 7) -> str:
    """File name of the granule whose three hours are centred on `stamp` (datetime64)."""
    text = str(stamp.astype("datetime64[s]")).replace("-", "").replace(":", "")
    return f"SMAP_L4_SM_gph_{text}_{SCIENCE_IDS[version]}_001.h5"


def write_granule(path: str | Path, fields: dict[str, np.ndarray], stamp: np.datetime64, rows: slice, columns: slice, title: str,
                  version: int = 7, layout: str = "subset") -> None:
    """Write one SPL4SMGP granule.

    Parameters
    ----------
    path : str or Path
    fields : dict name -> float [h, w]
        Some of `GRANULE_FIELDS`, from north to south and west to east; NaN = missing.
    stamp : datetime64
        UTC, centre of the three hours.
    rows, columns : slice
        Of the global 9 km grid that the fields cover; row 0 is the northernmost, column 0 the westernmost.
    title : str
        Global attribute that says what the values are.
    version : int
        Of the product, 1..8.
    layout : str
        "whole": the global grid, missing around the fields. "subset": cropped by the data centre. "flat": a
        subset without groups, their names in front of the fields'.

    Sources: see the head of this part; cropped files: nasa/harmony-opendap-subsetter.
    """
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    if layout == "whole":
        place = (rows, columns)
        rows, columns = slice(0, EASE_ROWS[9]), slice(0, EASE_COLUMNS[9])
        around = {name: np.full((rows.stop, columns.stop), np.nan, np.float32) for name in fields}
        for name, values in fields.items():
            around[name][place] = values
        fields, shape = around, (rows.stop, columns.stop)
    with replacing(path) as temporary, new_hdf5(temporary, libver="latest") as file:
        _write_root(file, stamp, title, os.path.basename(path), version)
        scales = _write_projected_axes(file, rows, columns) if version >= FIRST_WITH_AXES else None
        cells = ease_grid(9, rows, columns)
        _write_grid_field(file, "cell_lat", np.broadcast_to(cells.lat[::-1, None], shape).astype(np.float32), scales,
                          "The geodetic latitude of the center of each cell", "degrees", -90.0, 90.0)
        _write_grid_field(file, "cell_lon", np.broadcast_to(cells.lon, shape).astype(np.float32), scales,
                          "The longitude of the center of each cell", "degrees", -180.0, 179.999)
        row, column = np.mgrid[rows, columns].astype(np.uint32)
        for name, index, last in (("row", row, EASE_ROWS[9] - 1), ("column", column, EASE_COLUMNS[9] - 1)):
            _write_grid_field(file, f"cell_{name}", index, scales, f"The {name} index of each cell", "dimensionless",
                              0, last)
        _write_fields(file, fields, scales, version, flat=layout == "flat")


def write_regridded_granule(path: Path, fields: dict[str, np.ndarray], stamp: np.datetime64, lat: np.ndarray, lon: np.ndarray,
                            title: str, version: int = 7) -> None:
    """Write one SPL4SMGP granule as the data centre's regridding service delivers it, on degrees.

    Parameters
    ----------
    path, fields, stamp, title, version
        As :func:`write_granule` takes them.
    lat, lon : float [h], [w]
        Centres in degrees, from north to south and west to east. The file calls them y and x, as it does metres.

    Source: nasa/harmony-regridding-service.
    """
    with replacing(path) as temporary, new_hdf5(temporary, libver="latest") as file:
        _write_root(file, stamp, title, os.path.basename(path), version)
        scales = (_write_axis(file, "y", lat, "latitude", "degrees_north", "Y"),
                  _write_axis(file, "x", lon, "longitude", "degrees_east", "X"))
        _write_fields(file, fields, scales, version, flat=False)


def _write_root(file, stamp, title, name, version):
    stamp = np.datetime64(stamp, "s")
    _set(file, title=title, Conventions="CF", Filename=name, Comment="HDF-5")
    time = file.create_dataset("time", data=[(stamp - NOON_2000) / np.timedelta64(1, "s")])
    # the product counts from noon but says another second: readers must not believe it
    _set(time, long_name="Time", units="seconds since 2000-01-01 11:58:55.816", delta_t="0000-00-00 03:00:00",
         actual_range=np.repeat(time[:], 2))
    half = np.timedelta64(90, "m")
    _set(file.create_group("Metadata/DatasetIdentification"), shortName="SPL4SMGP", SMAPShortName="L4_SM_gph",
         VersionID=SCIENCE_IDS[version], fileName=name, abstract=title)
    _set(file.create_group("Metadata/Extent"), rangeBeginningDateTime=f"{stamp - half}.000Z",
         rangeEndingDateTime=f"{stamp + half}.000Z")


def _set(item, **attributes):
    for name, value in attributes.items():
        item.attrs[name] = np.bytes_(value) if isinstance(value, str) else value  # strings of fixed length


def _write_projected_axes(file, rows, columns):
    """The axes in metres and the projection; returns the axes (y, x)."""
    projection = file.create_dataset("EASE2_global_projection", data=np.bytes_(" "))
    _set(projection, grid_mapping_name="lambert_cylindrical_equal_area", standard_parallel=30.0,
         longitude_of_central_meridian=0.0, false_easting=0.0, false_northing=0.0)
    scales = []
    for name, part, count, sign in (("y", rows, EASE_ROWS[9], -1), ("x", columns, EASE_COLUMNS[9], 1)):
        first = np.float32(sign * (0.5 - count / 2) * EASE_CELL[9])  # single precision: up to a metre off
        metres = float(first) + sign * EASE_CELL[9] * np.arange(part.start, part.stop)
        scales.append(_write_axis(file, name, metres, f"projection_{name}_coordinate", "m", name.upper()))
    return scales


def _write_axis(file, name, values, standard_name, unit, axis):
    scale = file.create_dataset(name, data=np.asarray(values, np.float64))
    scale.make_scale(name)
    _set(scale, long_name=f"{name.upper()} coordinate of cell center", standard_name=standard_name, units=unit,
         axis=axis)
    return scale


def _write_fields(file, fields, scales, version, flat):
    for name, values in fields.items():
        values = np.asarray(values, np.float32)
        values = shave(values) if version >= FIRST_SHAVED else values
        values = np.where(np.isnan(values), MISSING, values)
        _write_grid_field(file, f"Geophysical_Data{'_' if flat else '/'}{name}", values, scales,
                          *GRANULE_FIELDS[name])


def _write_grid_field(file, name, values, scales, long_name, unit, lowest, highest):
    """One field as one chunk with its attributes; `scales` are its axes (y, x) or None."""
    missing = MISSING if values.dtype == np.float32 else MISSING_INDEX
    dataset = file.create_dataset(name, data=values, chunks=values.shape, compression="gzip", compression_opts=3,
                                  fillvalue=missing)
    _set(dataset, long_name=long_name, units=unit, grid_mapping="EASE2_global_projection",
         DIMENSION_LABELS=np.array([b"y", b"x"]), valid_min=values.dtype.type(lowest),
         valid_max=values.dtype.type(highest), _FillValue=missing, missing_value=missing, fmissing_value=missing,
         coordinates="/cell_lat /cell_lon")
    for axis, scale in enumerate(scales or ()):
        dataset.dims[axis].attach_scale(scale)


def shave(values: np.ndarray) -> np.ndarray:
    """Clear the last 12 bits of a field as version 7 and later of SPL4SMGP do, so that it packs well.

    Parameters
    ----------
    values : float32 [h, w]
        NaN = missing.

    Returns
    -------
    float32 [h, w]
        Rounded to 11 bits after the leading one of the difference from an offset in the middle of the values:
        off by at most 2**-12 of that difference. Zeros stay zeros.

    Source: GMAO_Shared, ShaveMantissa32 (ShaveMantissa.c).
    """
    valid = np.isfinite(values) & (values != 0)
    if not valid.any() or np.ptp(values[valid]) == 0:
        return values
    lowest, highest = values[valid].min(), values[valid].max()
    middle, nearest_zero = (lowest + highest) / 2, min(abs(lowest), abs(highest))
    offset = middle * min(1, nearest_zero / (highest - lowest))
    bits = (values[valid] - offset).astype(np.float32).view(np.uint32)
    rounded = (bits + np.uint32(1 << (SHAVED_BITS - 1))) & np.uint32(0xFFFFFFFF << SHAVED_BITS & 0xFFFFFFFF)
    shaved = values.copy()
    shaved[valid] = np.clip(rounded.view(np.float32) + offset, lowest, highest)
    return shaved


# -------------------------------------------------------------------------------------------------- ERA5-Land
# Layouts: files of the Climate Data Store before and after September 2024; "GRIB to netCDF conversion on new
# CDS", confluence.ecmwf.int. Parameters: codes.ecmwf.int/grib/param-db
ERA5_VARIABLES = {
    "swvl1": (39, "Volumetric soil water layer 1", "m**3 m**-3", "instant"),
    "stl1": (139, "Soil temperature level 1", "K", "instant"),
    "tp": (228, "Total precipitation", "m", "accum"),
}
"""Short name -> parameter number, name, unit, kind of time step."""
ERA5_LAYOUTS = ("new", "zip", "old", "old_expver")
FINAL, PRELIMINARY = "0001", "0005"
PACKED_MISSING = np.int16(-32767)
ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the same bytes whenever it is written


def write_era5_month(path: str | Path, fields: dict[str, np.ndarray], stamps: np.ndarray, lat: np.ndarray, lon: np.ndarray,
                     title: str, layout: str = "new", expver: Sequence[str] | None = None) -> None:
    """Write a file of ERA5-Land as the Climate Data Store delivers it.

    Parameters
    ----------
    path : str or Path
        Ends in .nc in every layout.
    fields : dict short name -> float [T, h, w]
        Some of `ERA5_VARIABLES`, in their units; NaN = missing (sea).
    stamps : datetime64 [T]
        UTC, full hours.
    lat, lon : float [h], [w]
        Degrees, from north to south and west to east.
    title : str
        Global attribute that says what the values are.
    layout : str
        "new": NetCDF-4, float32, `valid_time`. "zip": the same as a ZIP, instantaneous and accumulated variables
        apart. "old": NetCDF-3, packed in 16 bits, `time`. "old_expver": so, and a dimension `expver` for final
        and preliminary fields.
    expver : sequence of str [T], optional
        "0001" final, "0005" preliminary; default all final. The layout "old" does not tell.
    """
    stamps = np.asarray(stamps, "datetime64[h]")
    expver = np.asarray([FINAL] * stamps.size if expver is None else expver)
    with replacing(path) as temporary:
        if layout == "zip":
            _write_zip(temporary, fields, stamps, lat, lon, title, expver)
        elif layout == "new":
            _write_new_file(temporary, fields, stamps, lat, lon, title, expver)
        else:
            _write_old_file(temporary, fields, stamps, lat, lon, title, expver if layout == "old_expver" else None)


def _write_zip(path, fields, stamps, lat, lon, title, expver):
    with zipfile.ZipFile(path, "w") as archive, tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "member.nc"
        for step_type in ("instant", "accum"):
            part = {name: values for name, values in fields.items() if ERA5_VARIABLES[name][3] == step_type}
            if part:
                member = zipfile.ZipInfo(f"data_stream-oper_stepType-{step_type}.nc", ZIP_TIME)
                _write_new_file(whole, part, stamps, lat, lon, title, expver)
                archive.writestr(member, whole.read_bytes(), zipfile.ZIP_DEFLATED)


def _write_new_file(path, fields, stamps, lat, lon, title, expver):
    """NetCDF-4 file of the new service."""
    with netCDF4.Dataset(path, "w") as file:
        file.setncatts({"Conventions": "CF-1.7", "title": title})
        sizes = {"valid_time": stamps.size, "latitude": len(lat), "longitude": len(lon)}
        for name, size in sizes.items():
            file.createDimension(name, size)
        _add(file, "number", np.int64, (), 0, long_name="ensemble member numerical id", units="1",
             standard_name="realization")
        _add(file, "valid_time", np.int64, ("valid_time",), stamps.astype("datetime64[s]").astype(np.int64),
             long_name="time", standard_name="time", units="seconds since 1970-01-01", calendar="proleptic_gregorian")
        _add(file, "latitude", np.float64, ("latitude",), lat, fill_value=np.nan, units="degrees_north",
             standard_name="latitude", long_name="latitude", stored_direction="decreasing")
        _add(file, "longitude", np.float64, ("longitude",), lon, fill_value=np.nan, units="degrees_east",
             standard_name="longitude", long_name="longitude")
        file.createVariable("expver", str, ("valid_time",))[:] = expver.astype(object)
        for name, values in fields.items():
            number, long_name, unit, step_type = ERA5_VARIABLES[name]
            _add(file, name, np.float32, tuple(sizes), values, fill_value=np.float32(np.nan), zlib=True, complevel=1,
                 GRIB_paramId=np.int64(number), GRIB_shortName=name, GRIB_name=long_name, GRIB_units=unit,
                 GRIB_stepType=step_type, GRIB_gridType="regular_ll", GRIB_missingValue=3.4028234663852886e+38,
                 long_name=long_name, units=unit, standard_name="unknown",
                 coordinates="number valid_time latitude longitude expver")


def _add(file, name, kind, dimensions, values, fill_value=None, zlib=False, complevel=0, **attributes):
    variable = file.createVariable(name, kind, dimensions, fill_value=fill_value, zlib=zlib, complevel=complevel)
    variable.setncatts(attributes)
    variable[...] = values
    return variable


def _write_old_file(path, fields, stamps, lat, lon, title, expver):
    """NetCDF-3 file of the old service; with a dimension `expver` unless that is None."""
    with netCDF4.Dataset(path, "w", format="NETCDF3_64BIT_OFFSET") as file:
        file.setncatts({"Conventions": "CF-1.6", "title": title})
        sizes = {"longitude": len(lon), "latitude": len(lat), "expver": 2, "time": stamps.size}
        if expver is None:
            del sizes["expver"]
        for name, size in sizes.items():
            file.createDimension(name, size)
        _add(file, "longitude", np.float32, ("longitude",), lon, units="degrees_east", long_name="longitude")
        _add(file, "latitude", np.float32, ("latitude",), lat, units="degrees_north", long_name="latitude")
        if expver is not None:
            _add(file, "expver", np.int32, ("expver",), [1, 5], long_name="expver")
        hours = (stamps - np.datetime64("1900-01-01T00", "h")).astype(np.int32)
        _add(file, "time", np.int32, ("time",), hours, units="hours since 1900-01-01 00:00:00.0", long_name="time",
             calendar="gregorian")
        for name, values in fields.items():
            packed, scale, offset = _packed(values)
            if expver is not None:
                columns = [np.where((expver == kind)[:, None, None], packed, PACKED_MISSING)
                           for kind in (FINAL, PRELIMINARY)]
                packed = np.stack(columns, axis=1)
            dimensions = [dimension for dimension in ("time", "expver", "latitude", "longitude") if dimension in sizes]
            variable = file.createVariable(name, np.int16, dimensions, fill_value=PACKED_MISSING)
            variable.setncatts({"scale_factor": scale, "add_offset": offset, "missing_value": PACKED_MISSING,
                                "units": ERA5_VARIABLES[name][2], "long_name": ERA5_VARIABLES[name][1]})
            variable.set_auto_maskandscale(False)
            variable[:] = packed


def _packed(values):
    """Values as int16 that fill the range, and the scale and offset that unpack them."""
    lowest, highest = np.nanmin(values), np.nanmax(values)
    scale = float(highest - lowest) / 65532 or 1.0  # a constant field needs no scale
    offset = float(highest + lowest) / 2
    packed = np.round((np.asarray(values, np.float64) - offset) / scale)
    return np.where(np.isnan(packed), PACKED_MISSING, packed).astype(np.int16), scale, offset
