"""The library ecCodes, loaded so that it does not disturb pyproj: always `from data_processing.grib import eccodes`."""
import ctypes

import findlibs

# On Linux the wheels of ecCodes bring a PROJ of their own, which findlibs would load for the whole process: pyproj would then
# call that one, without its database, and crash. Loaded for ecCodes alone (what ctypes does by default) it is in nobody's way.
findlibs._load_globally = ctypes.CDLL

import eccodes  # noqa: F401
