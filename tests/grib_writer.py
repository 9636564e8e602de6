"""Small GRIB 2 messages as ECMWF open data and NOAA GEFS encode them, with known values."""
import numpy as np

from data_processing.grib import eccodes

LAT = np.arange(34.0, 29.9, -0.5)  # north to south, as the services have it
LON = np.arange(98.0, 104.1, 0.5)
GEFS = "kwbc"


def rain(values, start, begin, end, member=None, centre="ecmf", lat=LAT, lon=LON):
    """Total precipitation from step `begin` to `end` (h), bytes of a message.

    `values` [h, w] or a number: in m for ecmf, in kg m-2 for other centres. `start`: "2024-06-01T12". `member` None: a
    single forecast without number.
    """
    message = _message(start, lat, lon, centre, 8 if member is None else 11, member)
    if centre == "ecmf":
        keys = {"shortName": "tp", "stepRange": f"{begin}-{end}"}  # ECMWF's own parameter, in m
    else:
        keys = {"parameterCategory": 1, "parameterNumber": 8, "typeOfFirstFixedSurface": 1, "level": 0,  # WMO's, in kg m-2
                "typeOfStatisticalProcessing": 1, "stepRange": f"{begin}-{end}"}
    return _bytes(message, keys, values, lat, lon)


def temperature(values, start, step, member=None, centre="ecmf", lat=LAT, lon=LON):
    """Temperature of 2 m at a step (h), K, bytes of a message; else as `rain`."""
    message = _message(start, lat, lon, centre, 0 if member is None else 1, member)
    keys = {"parameterCategory": 0, "parameterNumber": 0, "typeOfFirstFixedSurface": 103, "scaleFactorOfFirstFixedSurface": 0,
            "scaledValueOfFirstFixedSurface": 2, "step": step}
    return _bytes(message, keys, values, lat, lon)


def wind(start, step, lat=LAT, lon=LON):
    """A message that nobody asked for."""
    return _bytes(_message(start, lat, lon, "ecmf", 0, None), {"parameterCategory": 2, "parameterNumber": 2, "step": step},
                  3.0, lat, lon)


def _message(start, lat, lon, centre, template, member):
    message = eccodes.codes_grib_new_from_samples("regular_ll_pl_grib2")
    date, hour = start.split("T")
    keys = {"centre": centre, "tablesVersion": 32, "dataDate": int(date.replace("-", "")), "dataTime": int(hour) * 100,
            "Ni": len(lon), "Nj": len(lat), "jScansPositively": int(lat[-1] > lat[0]),
            "latitudeOfFirstGridPointInDegrees": lat[0], "latitudeOfLastGridPointInDegrees": lat[-1],
            "longitudeOfFirstGridPointInDegrees": lon[0] % 360, "longitudeOfLastGridPointInDegrees": lon[-1] % 360,
            "iDirectionIncrementInDegrees": lon[1] - lon[0], "jDirectionIncrementInDegrees": abs(lat[1] - lat[0]),
            "productDefinitionTemplateNumber": template, "discipline": 0}
    if member is not None:
        keys |= {"perturbationNumber": member, "numberOfForecastsInEnsemble": 51,
                 "typeOfEnsembleForecast": 3 if member else 1}
    for key, value in keys.items():
        eccodes.codes_set(message, key, value)
    return message


def _bytes(message, keys, values, lat, lon):
    for key, value in {**keys, "bitsPerValue": 24}.items():
        eccodes.codes_set(message, key, value)
    values = np.broadcast_to(np.asarray(values, np.float64), (len(lat), len(lon)))
    if np.isnan(values).any():
        eccodes.codes_set(message, "bitmapPresent", 1)
        eccodes.codes_set(message, "missingValue", 1e30)
        values = np.where(np.isnan(values), 1e30, values)
    eccodes.codes_set_values(message, values.ravel())
    content = eccodes.codes_get_message(message)
    eccodes.codes_release(message)
    return content


def ecmwf_forecast(start, days=2, member=None, rate=1.0, kelvin=280.0, step=6, lead_in=0, **more):
    """Messages of a forecast with a constant rain rate (mm h-1), steps of 6 h, tp from the start; temperature kelvin + hour
    of the day (UTC)."""
    first = int(start[-2:])
    hours = range(0, lead_in + 24 * days + 1, step)
    return ([rain(rate * hour / 1000, start, 0, hour, member, **more) for hour in hours if hour]
            + [temperature(kelvin + (first + hour) % 24, start, hour, member, **more) for hour in hours])


def gefs_forecast(start, days=2, member=0, rate=1.0, kelvin=280.0, lead_in=0, **more):
    """The same in 3-hourly steps whose totals begin anew every 6 h, as GEFS has them; kg m-2."""
    first, messages = int(start[-2:]), []
    for hour in range(0, lead_in + 24 * days + 1, 3):
        begin = (hour - 1) // 6 * 6
        if hour:
            messages.append(rain(rate * (hour - begin), start, begin, hour, member, centre=GEFS, **more))
        messages.append(temperature(kelvin + (first + hour) % 24, start, hour, member, centre=GEFS, **more))
    return messages
