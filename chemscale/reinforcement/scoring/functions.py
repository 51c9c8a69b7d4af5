"""A scoring function from its name: shipped, ``module:function``, ``file.py:function``, or a callable."""

from __future__ import annotations

import functools
import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from rdkit import Chem, rdBase

from chemscale.reinforcement.scoring.errors import OracleError, ScoringError
from chemscale.reinforcement.scoring.shipped import SHIPPED

Values = Callable[[Sequence[str]], Sequence[Any]]
LISTS = ("list", "List", "Sequence", "Iterable", "Collection", "tuple", "Tuple", "ndarray", "np.ndarray")
TAKES = ("one", "list")


def resolve(
    function: str | Callable[..., Any], options: Mapping[str, Any], takes: str | None
) -> tuple[Values, bool]:
    """The function of several SMILES that a name stands for, and whether it wants them together.

    Args:
        function: a shipped name, ``module:function``, ``file.py:function`` (also a class, which is made once
            with the options and then called), or a callable.
        options: keyword arguments.
        takes: ``one`` SMILES or a ``list`` of them; None: a list where the first parameter is annotated so.

    Raises:
        ScoringError: there is no such function, or it does not take these options.
    """
    if isinstance(function, str) and function in SHIPPED:
        return _shipped(function, options), False
    found = function if callable(function) else _imported(function)
    name = describe(function)
    if isinstance(found, type):
        _check_call(found, name, (), options)
        found, options = found(**options), {}
    _check_call(found, name, ("C",), options)
    call: Callable[..., Any] = functools.partial(found, **options) if options else found
    together = takes == "list" if takes else _wants_list(found)
    return (call if together else functools.partial(_one_by_one, call)), together


def describe(function: str | Callable[..., Any]) -> str:
    """The name of a function, for messages and for the request of a run."""
    if isinstance(function, str):
        return function
    name = getattr(function, "__qualname__", type(function).__qualname__)
    return f"{getattr(function, '__module__', '?')}:{name}"


def as_number(value: Any) -> float:
    """A returned value as a number.

    Args:
        value: of a scoring function.

    Raises:
        OracleError: it is none, NaN or infinite.
    """
    dimensions: Any = getattr(value, "ndim", 0)
    if isinstance(value, list | tuple | dict | set) or (dimensions and len(value) != 1):
        raise OracleError(
            f"returned {type(value).__name__} for one SMILES: a function of a list is annotated so "
            "(smiles: list[str]), or told by takes=list"
        )
    try:
        if value is None or isinstance(value, str | bytes):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise OracleError(f"returned {value!r}, which is no number") from None
    if number != number or number in (float("inf"), float("-inf")):
        raise OracleError(f"returned {number}")
    return number


def _one_by_one(call: Callable[[str], Any], smiles: Sequence[str]) -> list[Any]:
    return [call(each) for each in smiles]


def _shipped(name: str, options: Mapping[str, Any]) -> Values:
    _check_call(SHIPPED[name], name, (), options)
    of = SHIPPED[name](**options)

    def values(smiles: Sequence[str]) -> list[float]:
        with rdBase.BlockLogs():
            return [of(Chem.MolFromSmiles(each)) for each in smiles]

    return values


def _imported(text: str) -> Any:
    """What stands behind ``module:function`` or ``file.py:function``."""
    place, colon, name = text.rpartition(":")
    if not colon or not place or not name:
        shipped = ", ".join(SHIPPED)
        raise ScoringError(
            f"{text}: no such scoring function. Give module:function, file.py:function, a .yaml file of "
            f"components, or one of {shipped}."
        )
    module = _module(place, text)
    try:
        found = getattr(module, name)
    except AttributeError:
        there = sorted(n for n, v in vars(module).items() if callable(v) and not n.startswith("_"))
        raise ScoringError(
            f"{text}: {place} has no {name}. It has {', '.join(there[:12]) or 'no function'}."
        ) from None
    if not callable(found):
        raise ScoringError(f"{text}: {name} is no function but {type(found).__name__}.")
    return found


@functools.cache
def _module(place: str, text: str) -> ModuleType:
    if not place.endswith(".py"):
        # A module beside the user's files is found as it is by `python file.py`.
        if "" not in sys.path and os.getcwd() not in sys.path:
            sys.path.append(os.getcwd())
        try:
            return importlib.import_module(place)
        except Exception as error:
            raise ScoringError(f"{text}: cannot be imported ({type(error).__name__}: {error}).") from error
    path = Path(place).resolve()
    if not path.is_file():
        raise ScoringError(f"{text}: there is no file {path}.")
    name = f"chemscale_score_{hashlib.sha256(str(path).encode()).hexdigest()[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        sys.modules.pop(name, None)
        raise ScoringError(f"{text}: {path} cannot be run ({type(error).__name__}: {error}).") from error
    return module


def _check_call(
    function: Callable[..., Any], name: str, arguments: tuple, options: Mapping[str, Any]
) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # written in C: what it takes is found out by calling it
    try:
        signature.bind(*arguments, **options)
    except TypeError as error:
        takes = ", ".join(str(p) for p in list(signature.parameters.values())[len(arguments) :]) or "none"
        raise ScoringError(f"{name}: {error}. Its options: {takes}.") from None


def _wants_list(function: Callable[..., Any]) -> bool:
    """Whether the first parameter is annotated as several of something."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return False
    annotation = parameters[0].annotation if parameters else inspect.Parameter.empty
    if annotation is inspect.Parameter.empty:
        return False
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    return text.partition("[")[0].rpartition(".")[2] in LISTS
