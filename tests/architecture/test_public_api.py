"""The public API is what it promises: names, arguments and defaults.

`signatures.txt` holds one section per module; a script that names or orders its
arguments as written there runs unchanged. More arguments may follow the listed ones.
"""

import ast
import importlib
import inspect
import io
import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
import torch

import pyprobound

MODULES = ("alphabets", "layers", "rounds")
NAMES = (
    "Aggregate",
    "BaseLoss",
    "Batch",
    "Binding",
    "BindingOptim",
    "Call",
    "Component",
    "Contribution",
    "Cooperativity",
    "CountBatch",
    "CountTable",
    "EvenSampler",
    "Experiment",
    "Loss",
    "Mode",
    "MultiExperimentLoss",
    "MultiRoundMSLELoss",
    "MultitaskLoader",
    "Optimizer",
    "Spacing",
    "Spec",
    "Step",
    "Table",
    "Transform",
    "collate_batch_fn",
    "get_dataframe",
    "sample_counts",
    "sample_dataframe",
    "score",
)
SUBMODULES = (
    "aggregate",
    "alphabets",
    "base",
    "cooperativity",
    "experiment",
    "fitting",
    "layers",
    "loss",
    "mode",
    "optimizer",
    "rounds",
    "table",
)
ON_THEIR_OWN = ("plotting",)  # not imported with the package, which stays light
# Defaults that are not literals, as signatures.txt writes them.
SPECIAL_DEFAULTS = {
    "-inf": -math.inf,
    "frozenset()": frozenset(),
    "lambda y: y": "lambda y: y",
    "sys.stdout": "sys.stdout",
    "tensor(inf)": math.inf,
}


class Promise(NamedTuple):
    """One line of signatures.txt: a class, a property or a callable."""

    module: str
    owner: str  # the class, empty for a function of the module
    kind: str
    text: str

    @property
    def name(self) -> str:
        return self.text.partition("(")[0].strip()

    def __str__(self) -> str:
        return ".".join(part for part in (self.module, self.owner, self.name) if part)


def promises() -> Iterator[Promise]:
    """Read signatures.txt."""
    path = Path(__file__).with_name("signatures.txt")
    module = owner = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            module = line.removeprefix("## ").partition(".")[0]
        elif line.startswith("class "):
            owner = line.removeprefix("class ").partition("(")[0]
            yield Promise(module, "", "class", owner)
        elif line.startswith("def "):
            yield Promise(module, "", "def", line.removeprefix("def "))
        elif line.startswith("  "):
            kind, _, rest = line.strip().partition(" ")
            known = kind in {"property", "classmethod", "staticmethod"}
            text = rest if known else line.strip()
            yield Promise(module, owner, kind if known else "def", text)


def module_of(promise: Promise) -> ModuleType:
    return importlib.import_module(f"pyprobound.{promise.module}")


def promised_arguments(promise: Promise) -> list[tuple[str, object]]:
    """Names and defaults as written; `inspect.Parameter.empty` is no default."""
    function = ast.parse(f"def {promise.text}: ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    given = function.args
    positional = given.posonlyargs + given.args
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(given.defaults))
    pairs = [
        *zip(positional, [*defaults, *given.defaults], strict=True),
        *zip(given.kwonlyargs, given.kw_defaults, strict=True),
    ]
    return [
        (argument.arg, value_of(default))
        for argument, default in pairs
        if argument.arg not in {"self", "cls"}
    ]


def value_of(default: ast.expr | None) -> object:
    if default is None:
        return inspect.Parameter.empty
    text = ast.unparse(default)
    if text in SPECIAL_DEFAULTS:
        return SPECIAL_DEFAULTS[text]
    return ast.literal_eval(default)


def actual_arguments(promise: Promise) -> list[tuple[str, object]]:
    owner = module_of(promise)
    if promise.owner:
        owner = getattr(owner, promise.owner)
    parameters = inspect.signature(getattr(owner, promise.name)).parameters.values()
    return [
        (parameter.name, comparable(parameter.default))
        for parameter in parameters
        if parameter.kind
        not in {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
        and parameter.name not in {"self", "cls"}
    ]


def comparable(default: object) -> object:
    """Replace what has no equality of its own by what stands for it."""
    if isinstance(default, io.TextIOBase):
        return "sys.stdout"
    if isinstance(default, torch.Tensor):
        return default.item()
    if inspect.isfunction(default) and default(1) == 1:
        return "lambda y: y"
    return default


PROMISES = tuple(promises())
CLASSES = [promise for promise in PROMISES if promise.kind == "class"]
CALLABLES = [
    promise
    for promise in PROMISES
    # Named tuples and abstract classes take their arguments from Python.
    if promise.kind not in {"class", "property"}
    and "*args, **kwargs" not in promise.text
]


def test_signatures_file_is_read_whole() -> None:
    modules = {promise.module for promise in PROMISES}
    assert modules == {*SUBMODULES, *ON_THEIR_OWN}


@pytest.mark.parametrize("name", MODULES)
def test_package_re_exports_module(name: str) -> None:
    assert inspect.ismodule(getattr(pyprobound, name))
    assert name in pyprobound.__all__


@pytest.mark.parametrize("name", NAMES)
def test_package_re_exports_name(name: str) -> None:
    assert callable(getattr(pyprobound, name))
    assert name in pyprobound.__all__


@pytest.mark.parametrize("name", SUBMODULES)
def test_submodule_is_importable(name: str) -> None:
    assert importlib.import_module(f"pyprobound.{name}").__doc__


@pytest.mark.parametrize("promise", CLASSES, ids=str)
def test_class_is_in_its_module(promise: Promise) -> None:
    assert inspect.isclass(getattr(module_of(promise), promise.name))


@pytest.mark.parametrize("promise", CALLABLES, ids=str)
def test_arguments_and_defaults_are_as_promised(promise: Promise) -> None:
    promised = promised_arguments(promise)
    actual = actual_arguments(promise)
    assert actual[: len(promised)] == promised
