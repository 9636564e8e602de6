"""A run made again from its settings.json: what stands there becomes the defaults of the script, if its inputs are the same."""
import dataclasses
import types
import typing
from pathlib import Path
from typing import Any

from data_processing.coming_weather import NOT_TOLD, OBSERVED, TWIN, weather_file_path
from data_processing.errors import UserError
from data_processing.files import checksum
from utils.runs import choose_precision, find_cube, plain, provenance, read_json, setting_differences
from utils.study import DOMAIN_OF

START = ("pretrained", "source_cube", "source_until")  # settings that say what a fine-tuning starts from


class RecordedRun(typing.NamedTuple):
    """What a settings.json says.

    path : Path. script : str, folder and name. found : dict, its content. settings : the script's Settings that make the run
    again. new : tuple of str, settings that it lacks, which have their defaults.
    """

    path: Path
    script: str
    found: dict
    settings: typing.Any
    new: tuple


def read_recorded(path: str | Path, script: str, settings_class: type) -> RecordedRun:
    """Read the settings of a run.

    Parameters
    ----------
    path : str or Path
        Its settings.json, or its folder.
    script : str
        Folder and name of the script that asks, such as "SMAPtest/lstm.py": it must be that of the run.
    settings_class : dataclass

    Returns
    -------
    RecordedRun
        A fine-tuning starts from the weights that it started from then; a member of an ensemble is a run of its own.

    Raises
    ------
    UserError
        No such file; not the settings of a run of this script.
    """
    path = Path(path).expanduser().absolute()
    path = path / "settings.json" if path.is_dir() else path
    try:
        found = read_json(path)
        recorded = dict(found["settings"])
        _check_form(found)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Give the settings.json of a run, or its folder.") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UserError(f"{path}: not the settings.json of a run. Give that of a run, or its folder.") from None
    if found.get("script", script) != script:
        raise UserError(f"{path} holds the settings of {found['script']}, not of {script}. Start that script with it.")
    hints = typing.get_type_hints(settings_class)
    wrong = ([f"{name}, which {script} lacks" for name in recorded if name not in hints]
             + [f"{name} = {value!r}" for name, value in recorded.items() if name in hints and not _fits(value, hints[name])])
    if wrong:
        raise UserError(f"{path} names {'; '.join(wrong)}: these are not settings of this version of {script}.")
    recorded = {name: tuple(value) if isinstance(value, list) else value for name, value in recorded.items()}
    if recorded.get("cube") != TWIN:
        recorded["cube"] = found["cube"]["path"]
    if "members" not in found:
        recorded["seeds"] = 1
        if "pretrained" in found:
            recorded |= {"pretrained": found["pretrained"]["path"], "source_cube": None, "source_until": None}
    recorded["resume"] = False
    new = tuple(name for name in hints if name not in recorded)
    return RecordedRun(path, script, found, settings_class(**recorded), new)


def _check_form(found):
    """Raise one of the errors of a wrong type or a key that lacks where a settings.json is not as `utils.runs` writes it."""
    files = [found["cube"], *found.get("further_cubes", ())]
    files += [found[name] for name in ("coming_weather", "pretrained") if name in found]
    texts = [file[name] for file in files for name in ("path", "sha256")] + list(found.get("members", ()))
    if not all(isinstance(text, str) for text in texts):
        raise TypeError
    found.get("host", {}).keys(), found.get("packages", {}).keys()


def _fits(value, hint):
    """Whether a value of a JSON file can be that of a setting with this type hint."""
    kind, of = typing.get_origin(hint), typing.get_args(hint)
    if kind in (types.UnionType, typing.Union):
        return any(_fits(value, each) for each in of)
    if kind is typing.Literal:
        return value in of
    if kind is tuple:
        return isinstance(value, list) and all(_fits(each, of[0]) for each in value)
    if kind is dict:
        return isinstance(value, dict) and all(_fits(each, of[1]) for each in value.values())
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return type(value) is hint


def check_recorded(run: RecordedRun, settings: Any, given: set[str]) -> Any:
    """Refuse inputs that have changed since the run, and say in one line what else is different.

    Parameters
    ----------
    run : RecordedRun
    settings : Settings
        Those of the run, and what the command line changed in them.
    given : set of str
        Names of the settings on the command line: an input that is named there may be another one.

    Returns
    -------
    Settings
        With one start of a fine-tuning, where the command line names another one.

    Raises
    ------
    UserError
        The cube, a further cube, the weather forecast, or the weights that the run started from have other content, or are not
        there.
    """
    if hasattr(settings, "pretrained") and given & {*START} and "pretrained" not in given:
        source_cube = settings.source_cube or run.found["settings"]["source_cube"]
        settings = dataclasses.replace(settings, pretrained=None, source_cube=source_cube)
    changed = []
    for names, what, path, sha256 in _inputs(run, settings):
        exists = path.exists()
        if exists and checksum(path) == sha256:
            continue
        if given & {*names}:  # what does not exist is refused by whoever reads it
            changed += [f"{what} has other content"] if exists else []
            continue
        option = " or ".join(f"--{name.replace('_', '-')}" for name in names[:2])
        if not exists:
            raise UserError(f"{what} {path}, which {run.path} names, is not there: put it back, or name another with {option}.")
        raise UserError(f"{what} {path} has changed since the run of {run.path} (SHA-256 {checksum(path)[:12]} now, "
                        f"{sha256[:12]} then): put it back, or name it with {option} to take it as it is now.")
    changed += setting_differences(plain(run.settings), plain(settings), [name for name in plain(settings) if name != "resume"])
    changed += [f"{name} is new, with its default {getattr(settings, name)!r}" for name in run.new]
    changed += _other_surroundings(run.found, settings)
    print(f"settings of {run.path}: {'; '.join(changed) if changed else 'nothing has changed since'}", flush=True)
    return settings


def _inputs(run, settings):
    """Yield (settings that name it, what it is, path, SHA-256 then) for each file that the run was made from."""
    found, domain = run.found, DOMAIN_OF[run.script.split("/")[0]]
    yield ("cube",), "the cube", find_cube(settings.cube, domain).path, found["cube"]["sha256"]
    further = [find_cube(cube, "era5_land").path for cube in getattr(settings, "further_cubes", ())]
    for path, then in zip(further, found.get("further_cubes", ())):
        yield ("further_cubes",), "the further cube", path, then["sha256"]
    if settings.coming_weather not in (NOT_TOLD, OBSERVED) and "coming_weather" in found:
        path = weather_file_path(TWIN, domain) if settings.coming_weather == TWIN else Path(settings.coming_weather)
        yield ("coming_weather",), "the weather forecast", path, found["coming_weather"]["sha256"]
    for start in [found, *_members(run)]:
        if "pretrained" in start:
            yield START, "the pre-trained model", Path(start["pretrained"]["path"]), start["pretrained"]["sha256"]


def _members(run):
    """What the settings.json of the members say, where the run is that of an ensemble."""
    paths = [run.path.parent / Path(name).name / "settings.json" for name in run.found.get("members", ())]
    return [read_json(path) for path in paths if path.exists()]


def _other_surroundings(found, settings):
    """Sentences on what else may change numbers: the scripts, packages, threads, processes, precision."""
    now, host = provenance(), found.get("host", {})
    pairs = [("the scripts' commit", found.get("git_commit"), now["git_commit"])]
    pairs += [(name, version, now["packages"].get(name)) for name, version in found.get("packages", {}).items()]
    pairs += [(name, host.get(name), now["host"][name]) for name in ("python", "threads", "processes")]
    pairs += [("precision", found.get("precision"), choose_precision(settings))]
    return [f"{name} was {then}, is {today}" for name, then, today in pairs if then is not None and then != today]
