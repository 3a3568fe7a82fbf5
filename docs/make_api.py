# ruff: noqa: INP001 (a script, not part of a package)
"""Write docs/api.md from the docstrings and signatures of the package.

    python docs/make_api.py

The sources are read, not imported, so that the page does not depend on what is
installed. What a class has from a base class that the page describes is left out
there.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

DOCS = Path(__file__).parent
SOURCE = DOCS.parent / "src" / "pyprobound"
PAGE = DOCS / "api.md"

# (title, module, files below the package, names; a tuple of names is one entry each)
SECTIONS = (
    (
        "Alphabets",
        "pyprobound.alphabets",
        ("alphabets.py",),
        ("Alphabet", "DNA", "RNA", "Codon", "Protein"),
    ),
    (
        "Tables",
        "pyprobound.table",
        ("table.py",),
        (
            "get_dataframe",
            "sample_dataframe",
            "sample_counts",
            "CountTable",
            "Table",
            "Batch",
            "CountBatch",
            "score",
            "EvenSampler",
            "MultitaskLoader",
            "collate_batch_fn",
        ),
    ),
    (
        "Layers",
        "pyprobound.layers",
        (
            "layers/psam.py",
            "layers/conv1d.py",
            "layers/conv0d.py",
            "layers/pad.py",
            "layers/roll.py",
            "layers/maxpool.py",
            "layers/module.py",
            "layers/layer.py",
        ),
        (
            "PSAM",
            "Conv1d",
            "NonSpecific",
            "Conv0d",
            "PadSpec",
            "Pad",
            "get_padding_layers",
            "RollSpec",
            "Roll",
            "MaxPool1dSpec",
            "MaxPool1d",
            "ModuleSpec",
            "ModuleLayer",
            "LayerSpec",
            "EmptyLayerSpec",
            "Layer",
            "LengthManager",
            "ModeKey",
        ),
    ),
    ("Modes", "pyprobound.mode", ("mode.py",), ("Mode",)),
    (
        "Dimers",
        "pyprobound.cooperativity",
        ("cooperativity.py",),
        ("Spacing", "Cooperativity"),
    ),
    (
        "Aggregates",
        "pyprobound.aggregate",
        ("aggregate.py",),
        ("Contribution", "Aggregate"),
    ),
    (
        "Rounds",
        "pyprobound.rounds",
        ("rounds.py",),
        (
            "BaseRound",
            "InitialRound",
            "Round",
            "BoundRound",
            "BoundUnsaturatedRound",
            "UnboundRound",
            "RhoGammaRound",
            "ExponentialRound",
            "repeat_round",
        ),
    ),
    ("Experiments", "pyprobound.experiment", ("experiment.py",), ("Experiment",)),
    (
        "Losses",
        "pyprobound.loss",
        ("loss.py",),
        ("Loss", "BaseLoss", "MultiExperimentLoss", "MultiRoundMSLELoss"),
    ),
    (
        "Fitting",
        "pyprobound.optimizer",
        ("optimizer.py", "_progress.py"),
        ("Optimizer", "ProgressEvent", "EndEvent"),
    ),
    (
        "Independent measurements",
        "pyprobound.fitting",
        (
            "fitting/_fits.py",
            "fitting/_base.py",
            "fitting/_agreement.py",
        ),
        ("Fit", "LogFit", "OffsetFit", "BaseFit", "Agreement"),
    ),
    (
        "The state of a fit",
        "pyprobound.fit_state",
        ("fit_state.py",),
        ("StateFile", "FitState"),
    ),
    (
        "Choosing a model",
        "pyprobound.comparison",
        ("comparison.py",),
        ("compare", "compare_on_splits", "fit_sequentially", "Comparison", "Row"),
    ),
    (
        "Held-out probes",
        "pyprobound.held_out",
        ("held_out.py",),
        ("split_by_sequence", "Split"),
    ),
    (
        "Standard errors",
        "pyprobound.uncertainty",
        (
            "uncertainty/_fisher.py",
            "uncertainty/_named.py",
            "uncertainty/_bootstrap.py",
            "uncertainty/_estimate.py",
        ),
        ("Uncertainty", "ErrorBars", "bootstrap", "Bootstrap", "Estimate"),
    ),
    (
        "The verdict on a fit",
        "pyprobound.diagnosis",
        ("diagnosis/_diagnose.py", "diagnosis/_findings.py"),
        ("diagnose", "Diagnosis", "Finding", "Severity"),
    ),
    (
        "The plan of a sequential fit",
        "pyprobound.procedure",
        ("procedure.py",),
        ("Stage", "make_plan", "format_plan"),
    ),
    (
        "Building blocks",
        "pyprobound.base",
        ("base.py",),
        (
            "Component",
            "Spec",
            "Transform",
            "Binding",
            "Call",
            "Step",
            "Phase",
            "BindingOptim",
        ),
    ),
    (
        "Kernels",
        "pyprobound.kernels",
        (
            "kernels/window_scores/_api.py",
            "kernels/log_sum_windows/_api.py",
            "kernels/log_sum_dimers/_api.py",
        ),
        (
            "window_scores",
            "soft_window_scores",
            "log_sum",
            "log_sum_windows",
            "log_sum_dimers",
        ),
    ),
    (
        "Motifs of other programs",
        "pyprobound.motifs",
        (
            "motifs/_formats.py",
            "motifs/_motif.py",
            "motifs/_central.py",
            "motifs/_own.py",
        ),
        (
            "read_motifs",
            "write_motifs",
            "write_fit",
            "Motif",
            "Format",
            "Entry",
            "read_entries",
            "find_entries",
        ),
    ),
    (
        "Models of other programs",
        "pyprobound.external",
        ("external.py",),
        (
            "get_fit_final",
            "parse_probound_alphabet",
            "parse_probound_tables",
            "parse_probound_psam",
            "parse_probound_modes",
            "parse_probound_interactions",
            "parse_probound_aggregate",
            "parse_probound_rounds",
            "parse_probound_model",
            "import_matrix",
            "import_motif_central",
            "import_jaspar",
            "import_hocomoco",
        ),
    ),
    (
        "Errors",
        "pyprobound.errors",
        ("errors.py",),
        ("PyProBoundError", "InputError", "ConfigError", "CheckpointError"),
    ),
    (
        "Scoring",
        "pyprobound.scoring",
        (
            "scoring/_sources.py",
            "scoring/_tables.py",
            "scoring/_soft.py",
            "scoring/_model.py",
        ),
        (
            "open_model",
            "score_sequences",
            "profile_sequences",
            "SoftScorer",
            "SiteModel",
            "Motif",
            "Constant",
            "Dimer",
            "State",
        ),
    ),
    (
        "Pictures",
        "pyprobound.plotting",
        (
            "plotting/_logos.py",
            "plotting/_pairs.py",
            "plotting/_saved.py",
            "plotting/_enrichment.py",
            "plotting/_rates.py",
            "plotting/_contribution.py",
            "plotting/_pooled.py",
            "plotting/_biases.py",
            "plotting/_spacing.py",
            "plotting/_arrangement_map.py",
            "plotting/_window_pairs.py",
            "plotting/_heatmaps.py",
            "plotting/_lines.py",
            "plotting/_ticks.py",
        ),
        (
            "logo",
            "logomaker_plotter",
            "Logo",
            "pairwise_plotter",
            "probe_enrichment",
            "kmer_enrichment",
            "enrichment_plotter",
            "kd_consistency",
            "keff_consistency",
            "contribution",
            "predicted_counts",
            "Counts",
            "posbias",
            "spacing",
            "arrangement_map",
            "cooperativity",
            "heatmap_plotter",
            "line_plotter",
            "plot_ticks",
            "save",
            "svg",
        ),
    ),
)

HEADER = """\
# API

Every public name, with its arguments. Made by `python docs/make_api.py` from the
docstrings; do not edit it by hand. How to use the names is told in the
[guide](guide.md), what they compute in the [theory](README.md#theory).

- Logarithms are natural; energies are −ΔΔG/RT, so larger is tighter.
- Positions and windows count from 0; intervals are half-open.
- A name is imported from the module of its section, many from `pyprobound` as well.
- Every component has the methods of [`Component`](#component), and every one that maps
  sequences to numbers those of [`Transform`](#transform). What a class has from its
  base is described there.
"""

# Said better by their value than by their name in the code.
CONSTANTS = {
    "_STDOUT": "sys.stdout",
    "_NEVER": "tensor(inf)",
    "LARGEST_ERROR": "10.0",
    "NOT_GIVEN": "-1.0",
    "math.inf": "inf",
}
ALIASES = {
    "AbstractSet": "Set",
    "BiasMode": 'Literal["channel", "same", "reverse"]',
    "Build": "Callable[[list[CountTable]], MultiExperimentLoss]",
    "Direction": 'Literal["left", "right", "center"]',
    "FileLike": "str | PathLike | IO[bytes]",
    "Fit": "Callable[[MultiExperimentLoss, list[CountTable]], object]",
    "Key": "tuple[Spec, ...]",
    "Length": "int | Tensor",
    "PathType": "str | PathLike",
    "Reads": "Table",
    "Scorer": "Component",
}
# Even where a base class has described them.
ALWAYS = {"forward", "log_enrichment_of", "score_windows"}
# The protocol between the parts of the package.
INTERNAL = {
    "adopt_structure",
    "anchors",
    "attach",
    "check_input",
    "extend_steps",
    "extra_repr",
    "follow",
    "get_extra_state",
    "named_values",
    "output",
    "own_values",
    "padding",
    "restore",
    "set_extra_state",
    "settle",
    "start_calls",
    "structure",
    "update_binding_optim",
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Doc:
    """A docstring, taken apart.

    Attributes:
        text: What stands before the first section, paragraphs as they are.
        sections: Heading → its lines.
    """

    text: str
    sections: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, node: Function | ast.ClassDef) -> "Doc":
        """Take the docstring of a class or function apart."""
        whole = ast.get_docstring(node) or ""
        parts = re.split(
            r"^(Args|Returns|Raises|Attributes|Yields):\n", whole, flags=re.MULTILINE
        )
        text = "\n\n".join(
            paragraph
            for paragraph in parts[0].strip().split("\n\n")
            if not paragraph.startswith(">>>")
        )
        return cls(text, dict(zip(parts[1::2], parts[2::2], strict=True)))

    @property
    def first(self) -> str:
        """The first paragraph in one line."""
        return _joined(self.text.split("\n\n")[0])

    def items(self, section: str) -> dict[str, str]:
        """Return name → text of a section that lists names."""
        entries: dict[str, str] = {}
        name = ""
        for line in self.sections.get(section, "").splitlines():
            match = re.match(r" {4}\**(\w+): ?(.*)", line)
            if match:
                name = match[1]
                entries[name] = match[2]
            elif line.startswith(" " * 8) and name:
                entries[name] += " " + line.strip()
            elif line.strip():
                break  # behind the section
        return entries


@dataclass
class Argument:
    """An argument of a callable, as text.

    Attributes:
        name: With its stars.
        annotation: Its type; empty if not given.
        default: Its default; None if it has none.
    """

    name: str
    annotation: str
    default: str | None

    def short(self) -> str:
        """Return the argument without its type."""
        return self.name if self.default is None else f"{self.name}={self.default}"

    def long(self) -> str:
        """Return the argument with its type."""
        typed = f"{self.name}: {self.annotation}" if self.annotation else self.name
        return typed if self.default is None else f"{typed} = {self.default}"


@dataclass
class Class:
    """A class of the package.

    Attributes:
        node: Its definition.
        known: Every class by name, to look its bases up.
    """

    node: ast.ClassDef
    known: dict[str, "Class"]

    @cached_property
    def bases(self) -> list[str]:
        """The names of the direct bases."""
        return [_name_of(base) for base in self.node.bases]

    @cached_property
    def functions(self) -> dict[str, Function]:
        """The functions that the class defines itself; of a property its getter."""
        functions = [x for x in self.node.body if isinstance(x, Function)]
        return {x.name: x for x in reversed(functions)}

    def described_above(self) -> set[str]:
        """Return the names of members that a base class on the page has."""
        names: set[str] = set()
        for base in self.bases:
            if base in self.known:
                names |= self.known[base].functions.keys()
                names |= self.known[base].described_above()
        return names

    def members(self) -> Iterator[Function]:
        """Iterate over the members that are to be described here."""
        above = self.described_above() - ALWAYS
        for name, function in reversed(self.functions.items()):
            if not name.startswith(("_", "evaluate")) and name not in INTERNAL | above:
                yield function

    def words(self) -> list[str]:
        """Return the words that `unfreeze` takes; none if the class adds none."""
        for statement in self.node.body:
            if (
                isinstance(statement, ast.Assign)
                and _name_of(statement.targets[0]) == "unfreezable"
            ):
                return re.findall(r"'(\w+)'", ast.unparse(statement.value))
        return []

    def fields(self) -> list[Argument]:
        """Return the arguments: of __init__, or of a named tuple or data class."""
        if "__init__" in self.functions:
            return _arguments(self.functions["__init__"], bound=True)
        plain = {"NamedTuple"} & set(self.bases) or self.node.decorator_list
        if not plain:
            return []
        return [
            Argument(
                _name_of(x.target),
                _type_of(x.annotation),
                None if x.value is None else _value_of(x.value),
            )
            for x in self.node.body
            if isinstance(x, ast.AnnAssign)
        ]


def _name_of(node: ast.expr) -> str:
    """Return the last name of an expression such as abc.ABC or BaseLoss[T]."""
    if isinstance(node, ast.Subscript):
        return _name_of(node.value)
    return ast.unparse(node).rpartition(".")[2]


def _type_of(node: ast.expr | None) -> str:
    if node is None:
        return ""
    text = ast.unparse(node).replace("'", '"')
    text = re.sub(r"\b(?:[a-z_]\w*\.)+(?=\w)", "", text)  # torch.Tensor → Tensor
    text = re.sub(r'"([A-Z]\w*(?: \| None)?)"', r"\1", text)  # a forward reference
    for alias, meaning in ALIASES.items():
        text = re.sub(rf"\b{alias}\b", meaning, text)
    return text


def _value_of(node: ast.expr) -> str:
    text = ast.unparse(node).replace("'", '"')
    for name, meaning in CONSTANTS.items():
        text = re.sub(rf"(?<![\w.]){re.escape(name)}\b", meaning, text)
    return text


def _decorated_with(function: Function, decorator: str) -> bool:
    return any(_name_of(x) == decorator for x in function.decorator_list)


def _arguments(function: Function, *, bound: bool) -> list[Argument]:
    """Return the arguments, without the object itself."""
    given = function.args
    positional = [*given.posonlyargs, *given.args]
    missing: list[ast.expr | None] = [None] * (len(positional) - len(given.defaults))
    found = [
        _argument(argument, default)
        for argument, default in zip(
            positional, [*missing, *given.defaults], strict=True
        )
    ]
    if bound and not _decorated_with(function, "staticmethod"):
        found = found[1:]
    if given.vararg:
        found.append(
            Argument(f"*{given.vararg.arg}", _type_of(given.vararg.annotation), None)
        )
    elif given.kwonlyargs:
        found.append(Argument("*", "", None))
    found += [
        _argument(argument, default)
        for argument, default in zip(given.kwonlyargs, given.kw_defaults, strict=True)
    ]
    if given.kwarg:
        found.append(
            Argument(f"**{given.kwarg.arg}", _type_of(given.kwarg.annotation), None)
        )
    return found


def _argument(argument: ast.arg, default: ast.expr | None) -> Argument:
    value = None if default is None else _value_of(default)
    return Argument(argument.arg, _type_of(argument.annotation), value)


# --- Markdown -------------------------------------------------------------------------


def _joined(text: str) -> str:
    return " ".join(text.split())


def _prose(text: str) -> str:
    """Return text with the characters escaped that Markdown would take as markup."""
    parts = re.split(r"(``?[^`]+``?)", text)
    parts[::2] = [re.sub(r"([*<\[\]|])", r"\\\1", part) for part in parts[::2]]
    return "".join(parts)


def _paragraphs(text: str) -> Iterator[str]:
    """Iterate over paragraphs: prose in one line, formulas as they are."""
    for paragraph in filter(None, text.split("\n\n")):
        if paragraph.startswith("    "):
            lines = "\n".join(
                line.removeprefix("    ") for line in paragraph.splitlines()
            )
            yield f"```\n{lines}\n```"
        else:
            yield _prose(_joined(paragraph))


def _listed(arguments: Iterable[Argument], texts: dict[str, str]) -> Iterator[str]:
    for argument in arguments:
        if argument.name == "*":
            continue
        text = texts.get(argument.name.lstrip("*"), "")
        yield f"- `{argument.long()}`" + (f": {_prose(text)}" if text else "")


def _callable_line(function: Function, *, bound: bool) -> str:
    """Return a function as one entry of a list."""
    doc = Doc.of(function)
    arguments = _arguments(function, bound=bound)
    shown = ", ".join(argument.short() for argument in arguments)
    kind = " (class method)" if _decorated_with(function, "classmethod") else ""
    kind = " (static method)" if _decorated_with(function, "staticmethod") else kind
    texts = doc.items("Args")
    meanings = [f"`{name}`: {_prose(text.rstrip('.'))}" for name, text in texts.items()]
    sentences = [
        f"- `{function.name}({shown})`{kind}: {_prose(doc.first)}",
        f"Takes {'; '.join(meanings)}." if meanings else "",
        _after("Returns", doc),
        _after("Raises", doc),
    ]
    return " ".join(filter(None, sentences))


def _after(section: str, doc: Doc) -> str:
    text = _joined(doc.sections.get(section, "").split("\n\n")[0])
    if not text:
        return ""
    return f"*{section}* {_prose(text)}"


def _function(function: Function, path: str) -> Iterator[str]:
    doc = Doc.of(function)
    arguments = _arguments(function, bound=False)
    yield f"### {function.name}"
    yield f"{path}."
    yield from _paragraphs(doc.text)
    listed = "\n".join(_listed(arguments, doc.items("Args")))
    if listed:
        yield f"Arguments:\n\n{listed}"
    yield from filter(None, (_after("Returns", doc), _after("Raises", doc)))


def _class(described: Class, path: str) -> Iterator[str]:
    doc = Doc.of(described.node)
    yield f"### {described.node.name}"
    linked = [
        f"[`{base}`](#{base.lower()})"
        for base in described.bases
        if base in described.known
    ]
    yield path + (f"; a kind of {' and '.join(linked)}." if linked else ".")
    yield from _paragraphs(doc.text)
    attributes = doc.items("Attributes")
    arguments = described.fields()
    if arguments:
        init = described.functions.get("__init__")
        own = Doc.of(init) if init else doc
        texts = own.items("Args") or attributes
        yield "Arguments:\n\n" + "\n".join(_listed(arguments, texts))
        if init is None:
            attributes = {}
        yield from filter(None, [_after("Raises", own)])
    else:
        yield from _values(described.node)
    members = list(described.members())
    properties = [
        f"- `{x.name}: {_type_of(x.returns)}`: {_prose(Doc.of(x).first)}"
        for x in members
        if _decorated_with(x, "property") and x.name not in attributes
    ]
    shown = [f"- `{name}`: {_prose(text)}" for name, text in attributes.items()]
    if shown or properties:
        yield "Attributes:\n\n" + "\n".join(shown + properties)
    words = described.words()
    methods = [
        _callable_line(x, bound=True)
        for x in members
        if not _decorated_with(x, "property")
        and not (x.name == "unfreeze" and len(words) > 1)
    ]
    if len(words) > 1:
        quoted = ", ".join(f'`"{word}"`' for word in words)
        methods.append(f'- `unfreeze(parameter="all")`: Takes {quoted}.')
    if methods:
        yield "Methods:\n\n" + "\n".join(methods)


def _values(node: ast.ClassDef) -> Iterator[str]:
    """Return the members of an enumeration in one line."""
    named = [
        f"`{_name_of(x.targets[0])}` = {ast.unparse(x.value)}"
        for x in node.body
        if isinstance(x, ast.Assign) and isinstance(x.value, ast.Constant)
    ]
    if named:
        yield "Values: " + ", ".join(named) + "."


# --- the page -------------------------------------------------------------------------


def _parse(file: str) -> ast.Module:
    return ast.parse((SOURCE / file).read_text(encoding="utf-8"))


def _exported() -> set[str]:
    """Return the names in the package's __all__."""
    for statement in _parse("__init__.py").body:
        if isinstance(statement, ast.Assign) and (
            _name_of(statement.targets[0]) == "__all__"
        ):
            return set(ast.literal_eval(statement.value))
    return set()


def _anchor(name: str, met: Counter[str]) -> str:
    """Return the anchor of a heading, numbered if there was the same one before."""
    anchor = name.lower().replace(" ", "-")
    met[anchor] += 1
    return anchor if met[anchor] == 1 else f"{anchor}-{met[anchor] - 1}"


def make_page() -> str:
    """Return the page.

    Raises:
        KeyError: A name of SECTIONS is not defined in the files of its section.
    """
    exported = _exported()
    known: dict[str, Class] = {}
    contents, blocks = [], []
    met: Counter[str] = Counter()
    trees = {title: [_parse(x) for x in files] for title, _, files, _ in SECTIONS}
    found = {
        title: {
            x.name: x
            for tree in found_trees
            for x in tree.body
            if isinstance(x, ast.ClassDef | Function)
        }
        for title, found_trees in trees.items()
    }
    for title, _, _, names in SECTIONS:
        for name in names:
            node = found[title][name]
            if isinstance(node, ast.ClassDef):
                known[name] = Class(node, known)
    for title, module, _, names in SECTIONS:
        _anchor(title, met)  # headings of sections count
        links = ", ".join(f"[{name}](#{_anchor(name, met)})" for name in names)
        contents.append(f"- `{module}`: {links}")
        blocks.append(f"## {title}")
        for name in names:
            path = f"`{module}.{name}`"
            if name in exported:
                path += f", also `pyprobound.{name}`"
            node = found[title][name]
            if isinstance(node, ast.ClassDef):
                blocks += _class(known[name], path)
            else:
                blocks += _function(node, path)
    return "\n\n".join([HEADER.strip(), "\n".join(contents), *blocks]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(make_page(), encoding="utf-8")
