"""Land of the synthetic twin: a two-layer water balance with snow and frozen ground in every land cell.

Water is counted in mm above the residual water content, so a layer's storage runs from 0 to its capacity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from data_processing.twin_weather import CELLS, smooth_map

if TYPE_CHECKING:
    from data_processing.twin_weather import Climate

SUBSTEPS = 2
FREEZING = np.float32(273.15)
MELT_PER_DEGREE = np.float32(3.0)
"""Snow melt, mm d-1 K-1 (degree-day factors are 2-6: Hock 2003, doi:10.1016/S0022-1694(03)00257-9)."""
THIN_SNOW, DEEP_SNOW = np.float32(2.0), np.float32(5.0)
"""Snow in mm of water that stops evaporation, and that shields the soil from the air."""
EVAPORATION_PER_DEGREE = np.float32(0.22)
"""Potential evaporation, mm d-1 per K above -4 degC and unit of sunshine; about 5 mm d-1 in summer."""
HELD_WHEN_DRY = np.float32(0.5)
"""Share of the water that a dry upper layer holds back; the rest goes by through roots and cracks."""


class Soil(NamedTuple):
    """Maps of the soil, all float32 [cells].

    depth : mm, of the upper layer. residual, porosity : m3 m-3, of the upper layer.
    capacity, deep_capacity : mm above the residual, of both layers.
    conductivity, deep_conductivity : mm d-1 at saturation. exchange : mm d-1 per difference of saturation.
    bare : share of the potential evaporation that is taken from the upper layer.
    stress : saturation at half of the potential evaporation. runoff : share that runs off saturated ground.
    """

    depth: np.ndarray
    residual: np.ndarray
    porosity: np.ndarray
    capacity: np.ndarray
    deep_capacity: np.ndarray
    conductivity: np.ndarray
    deep_conductivity: np.ndarray
    exchange: np.ndarray
    bare: np.ndarray
    stress: np.ndarray
    runoff: np.ndarray


class Ground(NamedTuple):
    """State of the land, all float32 [..., cells].

    water, deep_water : mm above the residual. snow : mm of water. temperature : K, of the upper layer.
    """

    water: np.ndarray
    deep_water: np.ndarray
    snow: np.ndarray
    temperature: np.ndarray


class Fluxes(NamedTuple):
    """Where a day's water went, mm d-1, all float32 [..., cells]."""

    evaporation: np.ndarray
    runoff: np.ndarray
    drainage: np.ndarray


def make_soil(climate: Climate, version: int, domain_number: int, depth: float, bias: float) -> Soil:
    """Soil maps of a domain: common maps, and the domain's own errors in them.

    Parameters
    ----------
    climate : Climate
    version, domain_number : int, key of the random maps.
    depth : float, mm, of the upper layer.
    bias : float, size of the domain's own errors (0 = none).

    Returns
    -------
    Soil
    """

    def texture(number, length_km=350):
        common = smooth_map(length_km, version, 200 + number)
        own = smooth_map(length_km, version, 300 + number, domain_number)
        return (common + bias * own) / np.sqrt(1 + bias**2) if bias else common

    clay = texture(0) + 0.6 * texture(1, 120)
    wetness = climate.wetness - 0.5
    shift = 0.02 * bias
    residual = np.clip(0.10 + 0.040 * clay + 0.25 * wetness + shift, 0.02, 0.32)
    porosity = 0.44 + 0.030 * texture(2) + 0.035 * clay + 0.22 * wetness + shift
    porosity = np.clip(porosity, residual + 0.25, 0.65)  # room enough that no substep can empty the layer
    conductivity = np.exp(1.1 - 0.45 * clay + 0.3 * texture(3))
    deep = 650.0
    maps = Soil(
        depth=np.full(CELLS, depth),
        residual=residual,
        porosity=porosity,
        capacity=(porosity - residual) * depth,
        deep_capacity=(porosity - residual) * deep,
        conductivity=np.clip(conductivity, 1.0, 0.8 * (porosity - residual) * depth),
        deep_conductivity=np.clip(3.6 * conductivity, 2.0, 30.0),
        exchange=np.clip(np.exp(-0.1 + 0.4 * texture(4)), 0.3, 3.0),
        bare=np.clip(0.40 - 0.20 * wetness + 0.06 * texture(5), 0.3, 0.8),
        stress=np.clip(0.35 + 0.05 * clay, 0.2, 0.5),
        runoff=np.clip(0.55 + 0.1 * texture(6), 0.2, 0.9),
    )
    return Soil(*(np.asarray(each, np.float32) for each in maps))


def first_ground(soil: Soil, climate: Climate) -> Ground:
    """A snow-free state to begin the spin-up with, wet where the climate is wet."""
    saturation = np.float32(0.15) + np.float32(0.5) * climate.wetness
    return Ground(
        saturation * soil.capacity, saturation * soil.deep_capacity, np.zeros_like(soil.depth),
        climate.temperature_mean[0],
    )


def next_ground(ground: Ground, soil: Soil, rain: np.ndarray, air_temperature: np.ndarray,
                sunshine: np.ndarray) -> tuple[Ground, Fluxes]:
    """State of the land at the end of a day, and where the day's water went.

    Parameters
    ----------
    ground : Ground, at the end of the day before.
    soil : Soil
    rain : float32 [..., cells], rain and snowfall, mm d-1.
    air_temperature : float32 [..., cells], K.
    sunshine : float32 [cells], of the season.

    Returns
    -------
    Ground, Fluxes
    """
    celsius = air_temperature - FREEZING
    liquid = np.clip(celsius * np.float32(0.5) + np.float32(0.5), 0, 1)
    snow = ground.snow + rain * (1 - liquid)
    melt = np.minimum(snow, MELT_PER_DEGREE * np.maximum(celsius, 0))
    snow = snow - melt
    supply = rain * liquid + melt

    following = np.where(snow > DEEP_SNOW, np.float32(0.2), np.float32(0.8))
    temperature = ground.temperature + following * (air_temperature - ground.temperature)
    thawed = np.clip((temperature - np.float32(270.65)) * np.float32(0.25), np.float32(0.02), 1)

    cloudy = 1 + np.float32(0.15) * np.minimum(rain, 8)
    potential = sunshine * np.maximum(celsius + 4, 0) * EVAPORATION_PER_DEGREE
    potential = potential * np.where(snow > THIN_SNOW, np.float32(0.1), thawed) / cloudy
    bare_potential = potential * soil.bare
    plant_potential = potential - bare_potential

    step = np.float32(1 / SUBSTEPS)
    per_capacity, per_deep_capacity = 1 / soil.capacity, 1 / soil.deep_capacity
    water, deep_water = ground.water, ground.deep_water
    evaporation: Any = 0
    runoff: Any = 0
    drainage: Any = 0
    for _ in range(SUBSTEPS):
        saturation = water * per_capacity
        deep_saturation = deep_water * per_deep_capacity
        deep_square = deep_saturation * deep_saturation
        held = HELD_WHEN_DRY * supply * (1 - saturation)
        bypass = supply - held
        running = bypass * soil.runoff * (deep_square + (1 - thawed) * saturation)
        bare = bare_potential * saturation / (saturation + soil.stress)
        plants = plant_potential * deep_saturation / (deep_saturation + soil.stress)
        square = saturation * saturation
        percolation = thawed * soil.conductivity * square * square
        percolation = percolation + thawed * soil.exchange * (saturation - deep_saturation)
        leaving = soil.deep_conductivity * deep_square * deep_square * deep_square * deep_square

        water = water + step * (held - bare - percolation)
        excess = np.maximum(water - soil.capacity, 0)
        water = water - excess
        deep_water = deep_water + excess + step * (bypass - running + percolation - plants - leaving)
        deep_excess = np.maximum(deep_water - soil.deep_capacity, 0)
        deep_water = deep_water - deep_excess
        evaporation = evaporation + step * (bare + plants)
        runoff = runoff + step * running + deep_excess
        drainage = drainage + step * leaving
    return Ground(water, deep_water, snow, temperature), Fluxes(evaporation, runoff, drainage)


def soil_moisture(before: Ground, after: Ground, soil: Soil) -> np.ndarray:
    """Soil moisture of the upper layer, mean of a day's first and last state, float32 [..., cells], m3 m-3."""
    return soil.residual + (before.water + after.water) / (2 * soil.depth)
