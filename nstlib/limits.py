"""Arguments: each is checked against its annotation, and one that is wrong is said by its name."""

import inspect
import reprlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cache, wraps
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from torch import Tensor

LARGEST = 65_535  # pixels: the longest side that JPEG can have


@dataclass(frozen=True)
class Limit:
    """What a value must be besides its type; stands in `Annotated`."""

    holds: Callable[[Any], bool]
    words: str

    def __repr__(self) -> str:
        return self.words  # as messages of others show it


def between(least: float, most: float) -> Limit:
    return Limit(lambda value: least <= value <= most, f"from {least:g} to {most:g}")


Natural = Annotated[int, Limit(lambda value: value >= 0, "of at least 0")]
Count = Annotated[int, Limit(lambda value: value >= 1, "of at least 1")]
Pixels = Annotated[int, between(1, LARGEST)]
Side = Annotated[int, between(16, LARGEST)]
Weight = Annotated[float, Limit(lambda value: value >= 0, "of at least 0")]
Positive = Annotated[float, Limit(lambda value: value > 0, "above 0")]
UnitFloat = Annotated[float, between(0, 1)]
ImageBatch = Annotated[
    Tensor, Limit(lambda x: x.ndim == 4 and x.is_floating_point() and x.numel() > 0, "(B, C, H, W) of floats")
]
WORDS = {int: "a whole number", float: "a finite number", str: "a text", Path: "a path", bool: "True or False"}


def fits(value, kind) -> bool:
    """Whether a value is what an annotation says. Texts, paths and sequences may not be empty."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return fits(value, inner[0]) and all(limit.holds(value) for limit in inner[1:] if isinstance(limit, Limit))
    if origin in (Union, UnionType):
        return any(fits(value, each) for each in inner)
    if origin is Literal:
        return any(type(value) is type(option) and value == option for option in inner)
    if origin in (tuple, list, Sequence):
        return _fits_all(value, inner)
    if origin is Mapping:
        return isinstance(value, Mapping) and _fits_all([*value], inner[:1]) and _fits_all([*value.values()], inner[1:])
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
    if kind is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and abs(value) <= sys.float_info.max
    if kind in (str, Path):
        return isinstance(value, (str,) if kind is str else (str, Path)) and str(value) != ""
    return callable(value) if origin is Callable else kind is Any or isinstance(value, kind)


def _fits_all(values, kinds: tuple) -> bool:
    """A sequence of one kind throughout, or of as many values as there are kinds."""
    if not isinstance(values, Sequence) or isinstance(values, str | bytes) or not values:
        return False
    if len(kinds) > 1 and kinds[1] is not Ellipsis:
        return len(values) == len(kinds) and all(map(fits, values, kinds))
    return all(fits(value, kinds[0]) for value in values)


def words(kind) -> str:
    """What an annotation asks for."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return " ".join([words(inner[0]), *(limit.words for limit in inner[1:] if isinstance(limit, Limit))])
    if origin in (Union, UnionType):
        return " or ".join(words(each) for each in inner if each is not type(None))
    if origin is Literal:
        return " or ".join(map(str, inner))
    if origin in (tuple, list, Sequence):
        return f"at least one, in a tuple: {' and '.join(words(each) for each in inner if each is not Ellipsis)}"
    if origin is Mapping:
        return f"{words(inner[1])} for each of at least one name"
    return WORDS.get(kind) or getattr(kind, "__name__", str(kind))


def check(name: str, value, kind, default=MISSING) -> None:
    """Compare a value with its annotation; the default itself is always good.

    Raises:
        ValueError: it is something else; says the name, the value and what it must be.
    """
    if type(value) is type(default) and not isinstance(value, Tensor) and value == default:
        return
    if not fits(value, kind):
        empty = isinstance(value, Sequence | Mapping) and not value
        short = reprlib.Repr()
        short.maxstring = short.maxother = 80
        remedy = "may not be empty" if empty else f"must be {words(kind)}"
        raise ValueError(f"{name}={' '.join(short.repr(value).split())}: {remedy}")


def check_fields(config) -> None:
    """Check every field of a frozen dataclass against its annotation; numpy's numbers become Python's."""
    for field in fields(config):
        value = getattr(config, field.name)
        check(field.name, value, field.type, field.default)
        object.__setattr__(config, field.name, _plain(value))


def _plain(value):
    """numpy's float64 is a float, but none that a checkpoint can hold; lists become tuples."""
    if isinstance(value, tuple | list):
        return tuple(map(_plain, value))
    return float(value) if isinstance(value, float) else value


def checked(function):
    """Check a function's arguments against its annotations before it runs."""
    parameters = inspect.signature(function).parameters
    hints = cache(lambda: get_type_hints(function, include_extras=True))  # later: they may name classes to come

    @wraps(function)
    def call(*args, **kwargs):
        for name, value in [*zip(parameters, args, strict=False), *kwargs.items()]:
            if name in parameters and name in hints():
                check(name, value, hints()[name], parameters[name].default)
        return function(*args, **kwargs)

    return call
