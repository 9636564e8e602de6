"""Grids of cells and the exact average of one grid's values over another's cells.

Every grid here has one latitude per row and one longitude per column, so a cell is a rectangle of the
cylindrical equal-area projection EPSG:6933: areas are products of metres north and metres east, and the
average over a target cell, weighted by area, is two sparse matrix products. EASE-Grid 2.0, the grid of SMAP,
lies evenly in that projection.
"""

from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pyproj import Transformer
from scipy import sparse

from data_processing.cube import cube_axes
from data_processing.errors import UserError

# EPSG:6933 = NSIDC EASE-Grid 2.0 global: Lambert cylindrical equal-area, true to scale at 30 degrees, WGS 84
TO_METRES = Transformer.from_crs("EPSG:4326", "EPSG:6933", always_xy=True)
METRES_PER_DEGREE_EAST = TO_METRES.transform(1.0, 0.0)[0]

# Brodzik et al. 2012, doi:10.3390/ijgi1010032, and 2014, doi:10.3390/ijgi3031154: grids M09 and M36;
# a cell of M36 is 4 x 4 cells of M09
EASE_ROWS = {9: 1624, 36: 406}
EASE_COLUMNS = {9: 3856, 36: 964}
EASE_CELL = {9: 9008.055210146, 36: 36032.220840584}  # m

EASE_TOLERANCE = 10.0  # m; files store x, y to a metre and degrees in single precision
DEGREE_TOLERANCE = 2e-5  # single precision at 180 degrees
ROUNDING = 1e-9  # share of a cell, or degrees: nothing but rounding
SPACINGS = ("0.01", "10")  # degrees; whoever writes 36 means 36km


class Grid(NamedTuple):
    """Cells between parallels and meridians, float64 degrees, ascending: rows from the south, columns from the west."""

    lat: np.ndarray  # [H] centres
    lon: np.ndarray  # [W] centres, without a jump: may exceed 180
    lat_edges: np.ndarray  # [H + 1], within -90 and 90
    lon_edges: np.ndarray  # [W + 1]


# ------------------------------------------------------------------------------------------------- projection
def metres_north(lat: np.ndarray | float) -> float | np.ndarray:
    """Northing of latitudes (degrees) in EPSG:6933, m."""
    lat = np.asarray(lat, np.float64)
    return TO_METRES.transform(np.zeros_like(lat), lat)[1]


def degrees_north(y: np.ndarray) -> np.ndarray:
    """Latitude (degrees) of northings in EPSG:6933 (m), to 2 mm; beyond the poles: the pole."""
    pole = metres_north(90.0)
    y = np.clip(np.asarray(y, np.float64), -pole, pole)
    return TO_METRES.transform(np.zeros_like(y), y, direction="INVERSE")[1]


# ------------------------------------------------------------------------------------------------------ grids
def ease_grid(kilometres: int, rows: slice = slice(None), columns: slice = slice(None)) -> Grid:
    """Cells of the global EASE-Grid 2.0.

    Parameters
    ----------
    kilometres : int
        9 (M09, 1624 x 3856 cells, the grid of SMAP L4) or 36 (M36, 406 x 964 cells).
    rows, columns : slice
        Which, in the grid's own counting: row 0 is the northernmost, column 0 the westernmost.

    Returns
    -------
    Grid
        From south to north, so the last of `rows` is the first here.

    Raises
    ------
    ValueError
        Slices that reach beyond the grid or hold no cell.
    """
    bounds = []
    for part, count in ((rows, EASE_ROWS[kilometres]), (columns, EASE_COLUMNS[kilometres])):
        first, last = part.start or 0, count if part.stop is None else part.stop
        if not 0 <= first < last <= count or part.step not in (None, 1):
            raise ValueError(f"{part} of the {count} rows or columns of the {kilometres} km EASE-Grid 2.0")
        bounds += [first, last]
    return _ease_cells_between(kilometres, *bounds)


def _ease_cells_between(kilometres, first_row, last_row, first_column, last_column):
    """Grid of rows and columns up to, not with, the last; columns may be counted on beyond 180 degrees."""
    half_rows = np.arange(2 * last_row, 2 * first_row - 1, -1)  # edges at even, centres at odd numbers
    y = (EASE_ROWS[kilometres] - half_rows) / 2 * EASE_CELL[kilometres]
    half_columns = np.arange(2 * first_column, 2 * last_column + 1)
    lat = degrees_north(y)
    lon = (half_columns - EASE_COLUMNS[kilometres]) * 180 / EASE_COLUMNS[kilometres]
    return Grid(lat[1::2], lon[1::2], lat[::2], lon[::2])


def ease_cells(kilometres: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of EASE-Grid 2.0 whose centres lie at x, y.

    Parameters
    ----------
    kilometres : int
        9 or 36.
    x, y : float, any shape
        Metres east and north in EPSG:6933, as files store them: up to a metre off.

    Returns
    -------
    columns, rows : int64, shapes of x and y
        Column 0 is the westernmost, row 0 the northernmost.

    Raises
    ------
    ValueError
        A position more than 10 m off every centre, or outside the grid.
    """
    columns, rows = _nearest_cells(kilometres, x, y)
    for what, cells, count in (("x", columns, EASE_COLUMNS[kilometres]), ("y", rows, EASE_ROWS[kilometres])):
        if cells.size and not 0 <= cells.min() <= cells.max() < count:
            raise ValueError(f"{what} reaches beyond the {kilometres} km EASE-Grid 2.0 (cell {cells.min()} to "
                             f"{cells.max()} of {count})")
    return columns, rows


def _nearest_cells(kilometres, x, y):
    cells = []
    for what, metres, count in (("x", np.asarray(x, np.float64), EASE_COLUMNS[kilometres]),
                                ("y", -np.asarray(y, np.float64), EASE_ROWS[kilometres])):
        position = metres / EASE_CELL[kilometres] + (count - 1) / 2
        off = np.abs(position - np.round(position)) * EASE_CELL[kilometres]
        if not (off <= EASE_TOLERANCE).all():
            raise ValueError(f"{what} lies up to {np.max(off):.0f} m off the centres of the {kilometres} km "
                             "EASE-Grid 2.0")
        cells.append(np.round(position).astype(np.int64))
    return cells


def axes_grid(lat: np.ndarray, lon: np.ndarray) -> Grid:
    """Cells around given centres.

    Parameters
    ----------
    lat, lon : float [H], [W]
        Centres in degrees, ascending.

    Returns
    -------
    Grid
        The centres as given. Edges: those of EASE-Grid 2.0 (9 or 36 km) where the centres are neighbours in it;
        half a spacing from the centres, free of their rounding, where these are even in degrees; halfway in
        metres where the rows are even in EPSG:6933; otherwise halfway in degrees. None beyond a pole.

    Raises
    ------
    ValueError
        Centres that do not ascend.
    UserError
        One row and one column: nothing tells how large the cell is.
    """
    lat, lon = np.asarray(lat, np.float64), np.asarray(lon, np.float64)
    for axis in (lat, lon):
        if axis.ndim != 1 or not axis.size or not np.isfinite(axis).all() or (np.diff(axis) <= 0).any():
            raise ValueError("latitudes and longitudes must be one-dimensional and ascending")
    ease = _ease_neighbours(lat, lon)
    if ease:
        return Grid(lat, lon, ease.lat_edges, ease.lon_edges)
    if lat.size == lon.size == 1:
        raise UserError(f"one cell at {lat[0]:g} N, {lon[0]:g} E: its size cannot be known; give a grid of at "
                        "least two rows or columns.")
    lat_edges = _edges(lat, other=lon, even_in_metres=True)
    return Grid(lat, lon, np.clip(lat_edges, -90, 90), _edges(lon, other=lat))


def _ease_neighbours(lat, lon):
    """The EASE-Grid 2.0 whose neighbouring rows and columns these are, or None."""
    for kilometres in EASE_CELL:
        try:
            columns, rows = _nearest_cells(kilometres, lon * METRES_PER_DEGREE_EAST, metres_north(lat))
        except ValueError:
            continue
        if (np.diff(columns) == 1).all() and (np.diff(rows) == -1).all():
            return _ease_cells_between(kilometres, rows[-1], rows[0] + 1, columns[0], columns[-1] + 1)
    return None


def _edges(centres, other, even_in_metres=False):
    """Edges in degrees [n + 1] of one axis; a single cell is as wide as those of the other axis."""
    axis = centres if centres.size > 1 else other
    step = (axis[-1] - axis[0]) / (axis.size - 1)
    parts = round(360 / step)
    halves = np.round(centres * parts / 180)  # centres counted in half spacings of 360 / parts degrees
    if np.abs(centres - halves * 180 / parts).max() < DEGREE_TOLERANCE and (np.diff(halves) == 2).all():
        return np.append(halves - 1, halves[-1] + 1) * 180 / parts
    if centres.size == 1:
        return centres + [-step / 2, step / 2]
    if even_in_metres and centres.size > 2:
        y = metres_north(centres)
        if _unevenness(y) * (y[-1] - y[0]) < EASE_TOLERANCE and _unevenness(y) < _unevenness(centres):
            return degrees_north(_halfway(y))
    return _halfway(centres)


def _unevenness(axis):
    """Largest distance of an axis from an even one of its ends, as share of its length."""
    return np.abs(axis - np.linspace(axis[0], axis[-1], axis.size)).max() / (axis[-1] - axis[0])


def _halfway(centres):
    middle = (centres[:-1] + centres[1:]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])


def crop(grid: Grid, window: tuple[int, int, int, int]) -> Grid:
    """The part of a grid in `window` = (first row, last row + 1, first column, last column + 1)."""
    row0, row1, column0, column1 = window
    return Grid(grid.lat[row0:row1], grid.lon[column0:column1],
                grid.lat_edges[row0:row1 + 1], grid.lon_edges[column0:column1 + 1])


# ---------------------------------------------------------------------------------------------------- windows
def box_window(grid: Grid, box: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    """Cells whose centres lie in a box.

    Parameters
    ----------
    grid : Grid
    box : (north, west, south, east)
        Degrees; longitudes as -180..180 or 0..360, whichever the grid has; east < west crosses 180 (or 0).

    Returns
    -------
    (first row, last row + 1, first column, last column + 1)

    Raises
    ------
    UserError
        No box; no centre in it; the box holds both ends of the grid's columns but not its middle.
    """
    rows, columns, _ = _cells_in_box(grid, box)
    columns = np.sort(columns)
    if columns[-1] - columns[0] + 1 != columns.size:
        raise _both_ends(box, grid)
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _both_ends(box, grid):
    return UserError(f"the box {_box_text(box)} holds both ends but not the middle of the grid, {_extent_text(grid)}; "
                     "choose a box on one side.")


def _cells_in_box(grid, box):
    """Rows and columns with centres in the box, from its south-west corner on; multiples of 360 to add there."""
    north, west, south, width = _checked_box(box)
    rows = np.flatnonzero((grid.lat >= south - DEGREE_TOLERANCE) & (grid.lat <= north + DEGREE_TOLERANCE))
    shift = 360 * np.ceil((west - DEGREE_TOLERANCE - grid.lon) / 360)
    lon = grid.lon + shift
    columns = np.argsort(lon, kind="stable")
    columns = columns[lon[columns] <= west + width + DEGREE_TOLERANCE]
    if not rows.size or not columns.size:
        raise UserError(f"no cell centre lies in the box {_box_text(box)}; the grid holds {_extent_text(grid)}.")
    return rows, columns, shift[columns]


def cover_window(grid: Grid, target: Grid) -> tuple[int, int, int, int]:
    """Cells of a grid that overlap the extent of another.

    Parameters
    ----------
    grid, target : Grid
        Longitudes may differ by multiples of 360.

    Returns
    -------
    (first row, last row + 1, first column, last column + 1)
        All columns between the first and the last that overlap: where `target` reaches around both ends of
        `grid`, columns between them that it does not need are in it too.

    Raises
    ------
    UserError
        The two do not overlap.
    """
    windows = []
    for edges, other, shifts in ((grid.lat_edges, target.lat_edges, (0.0,)),
                                 (grid.lon_edges, target.lon_edges, _shifts(grid, target))):
        inside = np.zeros(edges.size - 1, bool)
        for shift in shifts:
            inside |= (edges[1:] + shift > other[0] + ROUNDING) & (edges[:-1] + shift < other[-1] - ROUNDING)
        cells = np.flatnonzero(inside)
        if not cells.size:
            raise UserError(f"the cells asked for, {_extent_text(target)}, lie outside those of the source, "
                            f"{_extent_text(grid)}.")
        windows += [int(cells[0]), int(cells[-1]) + 1]
    return windows[0], windows[1], windows[2], windows[3]


def _shifts(source, target):
    """Multiples of 360 that bring longitudes of the source to those of the target."""
    first = np.ceil((target.lon_edges[0] - source.lon_edges[-1]) / 360)
    last = np.floor((target.lon_edges[-1] - source.lon_edges[0]) / 360)
    return 360.0 * np.arange(first, last + 1)


def _checked_box(box):
    """North, west, south and width in degrees of a box."""
    north, west, south, east = box
    if not (-90 <= south < north <= 90 and abs(west) <= 540 and abs(east) <= 540 and west != east):
        raise UserError(f"box {_box_text(box)}; expected north, west, south, east in degrees, such as "
                        "55 73 17 136.")
    width = (east - west - DEGREE_TOLERANCE) % 360 + DEGREE_TOLERANCE  # once around is 360, not 0
    return north, west, south, width


def _box_text(box):
    return "(north {:g}, west {:g}, south {:g}, east {:g})".format(*box)


def _extent_text(grid):
    return (f"{grid.lat_edges[0]:.6g} to {grid.lat_edges[-1]:.6g} N, "
            f"{grid.lon_edges[0]:.6g} to {grid.lon_edges[-1]:.6g} E")


# ----------------------------------------------------------------------------------------------------- target
def target_grid(grid: str, *, source: Grid, like: str | Path | None = None,
                box: tuple[float, float, float, float] | None = None) -> Grid:
    """The cells of a cube to make.

    Parameters
    ----------
    grid : str
        "native" (the source's cells), "36km" or "9km" (EASE-Grid 2.0), or a spacing in degrees such as "0.25"
        (edges at multiples of it).
    source : Grid
        What the files hold.
    like : str or Path, optional
        Another cube, to take its cells; only its axes are read. Then `grid` stays "native" and `box` None.
    box : (north, west, south, east), optional
        Degrees; cells whose centres lie in it. Default: the extent of `source`.

    Returns
    -------
    Grid
        Overlaps `source`.

    Raises
    ------
    UserError
        `like` beside `grid` or `box`; an unknown grid; a box without cells or off the source; a cube that
        cannot be read or lies off the source.
    """
    if like is not None:
        if grid != "native" or box is not None:
            raise UserError(f"like {like} takes its cells as they are: leave out grid and box, or leave out "
                            "like.")
        axes = cube_axes(like)
        try:
            target = axes_grid(*axes)
            cover_window(source, target)
        except UserError as error:
            raise UserError(f"{like}: {error}") from None
        return target
    if box is None:
        box = (source.lat_edges[-1], source.lon_edges[0], source.lat_edges[0], source.lon_edges[-1])
    box = _beside(source, box)
    if grid in ("native", "9km", "36km"):
        target = _in_box(source if grid == "native" else ease_grid(int(grid.removesuffix("km"))), box)
    else:
        target = _even_grid(_spacing(grid), box)
    cover_window(source, target)
    return target


def _beside(grid, box):
    """The box with its longitudes in the convention of the grid, west < east."""
    north, west, south, width = _checked_box(box)
    middle = (grid.lon_edges[0] + grid.lon_edges[-1]) / 2
    west += 360 * np.round((middle - west - width / 2) / 360)
    return north, west, south, west + width


def _in_box(grid, box):
    """Cells with centres in the box, columns from its west on wherever the grid itself begins."""
    rows, columns, shift = _cells_in_box(grid, box)
    left, right = grid.lon_edges[columns] + shift, grid.lon_edges[columns + 1] + shift
    if np.abs(left[1:] - right[:-1]).max(initial=0) > DEGREE_TOLERANCE:
        raise _both_ends(box, grid)
    return Grid(grid.lat[rows], grid.lon[columns] + shift,
                grid.lat_edges[rows[0]:rows[-1] + 2], np.append(left, right[-1]))


def _even_grid(spacing, box):
    """Cells with edges at multiples of `spacing` (Fraction, degrees) and centres in the box."""
    north, west, south, east = box
    edges = []
    for low, high in ((south, north), (west, east)):
        first = int(np.ceil(low / float(spacing) - 0.5 - ROUNDING))
        last = int(np.floor(high / float(spacing) - 0.5 + ROUNDING))
        last = min(last, first + 360 // spacing - 1)  # centres on both the west and the east edge of the whole globe
        if last < first:
            raise UserError(f"no cell of {float(spacing):g} degrees has its centre in the box {_box_text(box)}; "
                            "take a larger box or a smaller spacing.")
        edges.append(np.arange(2 * first, 2 * last + 3) * spacing.numerator / (2 * spacing.denominator))
    lat, lon = edges
    return Grid(lat[1::2], lon[1::2], np.clip(lat[::2], -90, 90), lon[::2])


def _spacing(grid):
    try:
        spacing = Fraction(grid)
    except (ValueError, ZeroDivisionError):
        spacing = Fraction(0)
    if not Fraction(SPACINGS[0]) <= spacing <= Fraction(SPACINGS[1]):
        raise UserError(f"grid {grid!r}; expected native, 36km, 9km or a spacing in degrees such as 0.25 "
                        f"({SPACINGS[0]} to {SPACINGS[1]}).")
    return spacing


# ---------------------------------------------------------------------------------------------------- regrid
class Regridder:
    """Average of one grid's values over another's cells, weighted by area (EPSG:6933), without the missing values.

    Parameters
    ----------
    source, target : Grid
        Longitudes may differ by multiples of 360; the source may reach around the target's ends.
    min_valid_fraction : float
        Share of a target cell's whole area that must hold values, 0 to 1; with less, or none, it is NaN.

    Raises
    ------
    UserError
        The grids do not overlap; `min_valid_fraction` is no share.
    AssertionError
        Weights of a source cell that do not add up to its area to 1e-12: our own logic is wrong.

    Notes
    -----
    With the mask m of valid values d, out = (Wy (d m) Wx') / (Wy m Wx'), where Wy [H, h] holds the shares of each
    target row's height that the source's rows take, and Wx [W, w] those of the columns. So the integral is
    kept: the sum of out * valid area over the target cells that have any is the sum of d * area over the
    valid source cells, or the parts of them, that lie inside the target.
    """

    def __init__(self, source, target, min_valid_fraction=0.5):
        if not 0 <= min_valid_fraction <= 1:
            raise UserError(f"min_valid_fraction {min_valid_fraction:g}; expected a share from 0 to 1.")
        cover_window(source, target)
        self.source, self.target = source, target
        self.min_valid_fraction = min_valid_fraction
        self.row_weights = _shares(metres_north(source.lat_edges), metres_north(target.lat_edges), (0.0,))
        turn = 360 * METRES_PER_DEGREE_EAST
        self.column_weights = _shares(source.lon_edges * METRES_PER_DEGREE_EAST,
                                      target.lon_edges * METRES_PER_DEGREE_EAST,
                                      _shifts(source, target) / 360 * turn)

    def __call__(self, values):
        """Average fields.

        Parameters
        ----------
        values : float [..., h, w]
            On the source's cells, NaN = missing.

        Returns
        -------
        float [..., H, W]
            On the target's cells, in the type of `values` (computed in float64), NaN = missing.
        """
        values = np.asarray(values)
        expected = (self.source.lat.size, self.source.lon.size)
        if values.shape[-2:] != expected:
            raise ValueError(f"values have shape {values.shape}, the source grid has {expected} cells")
        if values.dtype.kind != "f":
            raise ValueError(f"values are {values.dtype}; only floating-point numbers can be missing")
        result = np.empty((*values.shape[:-2], self.target.lat.size, self.target.lon.size), values.dtype)
        for index in np.ndindex(values.shape[:-2]):
            result[index] = self._average(values[index])
        return result

    def _average(self, field):
        valid = ~np.isnan(field)
        share = self._spread(valid.astype(np.float64))
        total = self._spread(np.where(valid, field, 0).astype(np.float64))
        enough = share >= max(self.min_valid_fraction - ROUNDING, ROUNDING)
        return np.divide(total, share, out=np.full(share.shape, np.nan), where=enough)

    def _spread(self, field):
        return (self.column_weights @ (self.row_weights @ field).T).T


def _shares(source_edges, target_edges, shifts):
    """Sparse [target, source]: share of each target cell's length along one axis that each source cell takes."""
    overlap = sum(_overlap(source_edges + shift, target_edges) for shift in shifts)
    return (sparse.diags_array(1 / np.diff(target_edges)) @ overlap).tocsr()


def _overlap(source_edges, target_edges):
    """Sparse [target, source]: length that the cells have in common, in the unit of the edges."""
    start, end = max(source_edges[0], target_edges[0]), min(source_edges[-1], target_edges[-1])
    cuts = np.unique(np.concatenate([source_edges, target_edges]))
    cuts = cuts[(cuts >= start) & (cuts <= end)]
    places = [np.searchsorted(edges, cuts[:-1], side="right") - 1 for edges in (target_edges, source_edges)]
    overlap = sparse.coo_array((np.diff(cuts), tuple(places)), (target_edges.size - 1, source_edges.size - 1)).tocsr()
    inside = (source_edges[:-1] >= start) & (source_edges[1:] <= end)
    lengths = np.diff(source_edges)[inside]
    lost = np.abs(np.asarray(overlap.sum(axis=0))[inside] - lengths)
    assert (lost <= 1e-12 * lengths).all(), f"weights lose {(lost / lengths).max():.1e} of a source cell"
    return overlap
