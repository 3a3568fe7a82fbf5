"""Where models come from: run directories, files of ProBound, MotifCentral."""

import json
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any
from warnings import warn

import torch

from pyprobound._numerics import NEG_INF
from pyprobound.alphabets import DNA, RNA, Alphabet, Protein
from pyprobound.config import BuiltModel, ProbeLengths
from pyprobound.config import Document as RunDocument
from pyprobound.cooperativity import Cooperativity
from pyprobound.errors import PyProBoundError
from pyprobound.layers import PSAM, Conv0d, Conv1d, NonSpecific
from pyprobound.mode import Mode
from pyprobound.probound._files import Document, parsed, read_json
from pyprobound.probound._open import numbers_of
from pyprobound.probound._scoring import scoring_model
from pyprobound.probound._transforms import consensus
from pyprobound.run_directory import open_run
from pyprobound.scoring._model import Constant, Dimer, Motif, SiteModel, State
from pyprobound.scoring._trained import Scorer, make_scorer
from pyprobound.structure import reach_of

_SETTINGS = "modelSettings"


def open_model(
    path: str | PathLike[str],
    *,
    experiment: str | None = None,
    modifications: Sequence[str] = (),
) -> SiteModel:
    """Open a model to score with.

    Args:
        path: A run directory or its model.pt; a JSON of ProBound: a scoring model, a
            fit (made a scoring model by its consensus, with a warning) or the lines of
            a fit, of which the last counts; or FILE.json:ENTRY, the entry of a file of
            MotifCentral with that fit_id or gene symbol.
        experiment: Of a run: whose rounds; by default the first experiment's.
        modifications: Of a file of ProBound: what the sequences carry.

    Raises:
        PyProBoundError: There is no such model, or it is damaged.
    """
    file, entry = place_of(path)
    if file.suffix == ".json" and not file.is_dir():
        if experiment is not None:
            raise PyProBoundError(f"--experiment: {file} has no experiments to choose")
        return _of_json(file, entry, modifications)
    if modifications:
        raise PyProBoundError(f"--modification is for a file of ProBound, not {file}")
    document, built = open_run(file)
    return of_run(document, built, experiment)


def place_of(path: str | PathLike[str]) -> tuple[Path, str | None]:
    """Return a file, and which of its entries is meant."""
    text = str(path)
    before, found, entry = text.rpartition(".json:")
    if not found or Path(text).exists():
        return Path(text), None
    return Path(before + ".json"), entry


# --- run directories ---------------------------------------------------------------


def of_run(
    document: RunDocument, built: BuiltModel, experiment: str | None = None
) -> SiteModel:
    """Return what a trained model says of sequences, without flanks and their biases.

    Args:
        document: The resolved configuration.
        built: The trained model.
        experiment: Whose rounds; by default the first experiment's.

    Raises:
        PyProBoundError: There is no such experiment.
    """
    scorer = make_scorer(document, built, experiment, as_probes=False)
    length = _length_for(scorer)
    with torch.no_grad():
        bindings, _ = scorer.fresh_bindings(ProbeLengths(length, length, length))
        motifs = [
            _motif(name, each)
            for name, each in bindings.items()
            if isinstance(each, Mode) and isinstance(each.chain[-1], Conv1d)
        ]
        constants = [
            Constant(name, not each.chain[-1].layer_spec.ignore_length, _hill(each))
            for name, each in bindings.items()
            if isinstance(each, Mode) and isinstance(each.chain[-1], Conv0d)
        ]
        names = {id(each): name for name, each in bindings.items()}
        dimers = [
            _dimer(name, each, (names[id(each.mode_a)], names[id(each.mode_b)]))
            for name, each in bindings.items()
            if isinstance(each, Cooperativity)
        ]
    return SiteModel(
        built.alphabet,
        motifs,
        constants,
        dimers,
        list(bindings),
        _states(scorer),
        lambda scores: scorer.column("enrichment", scores),
    )


def _length_for(scorer: Scorer) -> int:
    """Return a length of sequence in which every known arrangement fits."""
    specs = scorer.built.specs.modes.values()
    widest = max([1, *(each.reach for each in specs if isinstance(each, PSAM))])
    dimers = [
        each
        for each in scorer.trained.bindings.values()
        if isinstance(each, Cooperativity)
    ]
    return 2 * widest + max([0, *(reach_of(each) or 0 for each in dimers)])


def _hill(binding: Mode | Cooperativity) -> torch.Tensor | None:
    hill = binding.hill
    return None if hill is None else hill.detach().double()


def _motif(name: str, mode: Mode) -> Motif:
    spec = mode.chain[-1].layer_spec
    assert isinstance(spec, PSAM)
    filters = tuple(each.detach().double() for each in spec.filters())
    bias = spec.get_bias().detach().double()
    return Motif(name, filters, bias, _hill(mode), spec.dilation)


def _dimer(name: str, dimer: Cooperativity, motifs: tuple[str, str]) -> Dimer:
    n_a, n_b = dimer.mode_a.n_windows, dimer.mode_b.n_windows
    values = dimer.spacing.get_log_spacing(n_a, n_b).detach().double()
    known = (values > NEG_INF).any(0).any(0).nonzero().flatten().tolist() or [0]
    values = values[:, :, known[0] : known[-1] + 1]
    return Dimer(name, motifs, values, known[0] - (n_a - 1), _hill(dimer))


def _states(scorer: Scorer) -> list[State]:
    names = {id(binding): n for n, binding in scorer.trained.bindings.items()}
    sections = scorer.section.rounds
    has_library = any(each.library_concentration is not None for each in sections)
    given = {
        str(each.name)
        for each in sections
        if has_library or each.target_concentration != 1
    }
    states = []
    for name, each in scorer.selections.items():
        states.append(
            State(
                name,
                {
                    names[id(part.binding)]: float(part.log_activity.detach())
                    for part in each.aggregate.present()
                },
                float(each.aggregate.log_target_concentration.detach()),
                is_absolute=name in given,
            )
        )
    return states


# --- files of ProBound -------------------------------------------------------------


def _of_json(file: Path, entry: str | None, modifications: Sequence[str]) -> SiteModel:
    found = read_json(file)
    if isinstance(found, list) and found and _is_model(found[0]):
        document = parsed(file, _entry(file, found, entry))
    elif entry is not None:
        raise PyProBoundError(f"{file}: holds one model; leave out ':{entry}'")
    else:
        document = parsed(file, found) if isinstance(found, dict) else _refused(file)
    numbers = numbers_of(document, document.content.coefficients)
    settings = document.content.model_settings
    is_fit = (
        bool(settings.count_table)
        or bool(settings.binding_mode_interactions)
        or any(len(each.activity) != 1 or each.bias for each in numbers.modes)
    )
    if is_fit:
        document, numbers = consensus(document, numbers)
        warn(
            f"{file} is a fit: scored by its consensus, the mean activity of each mode"
            " over rounds, without interactions and position biases",
            stacklevel=2,
        )
    model = scoring_model(document, numbers, modifications)
    motifs, constants = [], []
    with torch.no_grad():
        for each in model.modes:
            if isinstance(each.spec, NonSpecific):
                constants.append(Constant(each.name, by_length=False))
            else:
                filters = tuple(each.spec.filters())
                motifs.append(Motif(each.name, filters, each.spec.get_bias()))
    activities = {each.name: each.log_activity for each in model.modes}
    return SiteModel(
        _with_codes(model.alphabet),
        motifs,
        constants,
        [],
        list(activities),
        [State("model", activities)],
    )


def _with_codes(alphabet: Alphabet) -> Alphabet:
    """Return the letters of a file with the codes (N, IUPAC) that it does not name."""
    letters = alphabet.alphabet
    codes = {"N": list(letters)} if "N" not in letters else {}
    for known in (DNA(), RNA(), Protein()):
        if known.alphabet == letters:
            codes = {
                symbol: [letters[i] for i in members]
                for symbol, members in known.get_encoding.items()
                if symbol not in letters and symbol not in " *-"
            }
    return Alphabet(letters, complement=alphabet.complement, encoding=codes)


def _refused(file: Path) -> Document:
    raise PyProBoundError(f"{file}: is a configuration, not a model: fit it first")


def _is_model(item: object) -> bool:
    return isinstance(item, dict) and _SETTINGS in item


def _entry(file: Path, models: list[Any], entry: str | None) -> dict[str, Any]:
    """Return the model of a fit_id or gene symbol."""
    if entry is None:
        example = json.dumps(_fit_id(models[0]))
        raise PyProBoundError(
            f"{file}: holds {len(models)} models; choose one by fit_id or gene symbol,"
            f" as in {file.name}:{example}"
        )
    chosen = [each for each in models if str(_fit_id(each)) == entry] or [
        each for each in models if entry.lower() in _genes(each)
    ]
    if not chosen:
        raise PyProBoundError(f"{file}: no model has the fit_id or gene {entry!r}")
    if len(chosen) > 1:
        known = ", ".join(str(_fit_id(each)) for each in chosen[:8])
        raise PyProBoundError(
            f"{file}: {len(chosen)} models are of {entry!r}; choose by fit_id: {known}"
        )
    model: dict[str, Any] = chosen[0]
    return model


def _fit_id(model: Any) -> object:  # noqa: ANN401 as JSON
    metadata = model.get("metadata") if isinstance(model, dict) else None
    return metadata.get("fit_id") if isinstance(metadata, dict) else None


def _genes(model: Any) -> list[str]:  # noqa: ANN401 as JSON
    metadata = model.get("metadata") if isinstance(model, dict) else None
    factors = metadata.get("factors") if isinstance(metadata, dict) else None
    return [
        str(each.get("gene_symbol")).lower()
        for each in (factors if isinstance(factors, list) else [])
        if isinstance(each, dict)
    ]
