"""What a configuration means: defaults, shorthands, examples, documentation."""

import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from pydantic import BaseModel

from pyprobound.cli._fit import FitOptions, _prepared
from pyprobound.config import (
    Config,
    Document,
    Probes,
    build_model,
    read_config,
    resolve,
    to_toml,
)
from pyprobound.config._read import _section_of
from pyprobound.layers import PSAM
from pyprobound.rounds import (
    BoundRound,
    BoundUnsaturatedRound,
    ExponentialRound,
    InitialRound,
    RhoGammaRound,
    UnboundRound,
)
from tests.cli.cases import MINIMAL, random_probes

REPOSITORY = Path(__file__).parents[2]
TWO_ROUNDS = Probes(10, 10, n_columns=2)


def document_of(folder: Path, text: str) -> Document:
    (folder / "fit.toml").write_text(text)
    return read_config(folder / "fit.toml")


def sections(
    section: type[BaseModel] = Config,
) -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section of a configuration with its place."""
    yield "", section
    for name, field in section.model_fields.items():
        inner = _section_of(field.annotation)
        if inner is not None:
            for place, each in sections(inner):
                yield f"{name}.{place}", each


def test_minimal_configuration_is_short_and_has_sensible_defaults(
    folder: Path,
) -> None:
    assert len(MINIMAL.splitlines()) <= 10
    config = resolve(document_of(folder, MINIMAL), [TWO_ROUNDS]).config
    experiment = config.experiments[0]
    assert [each.kind for each in experiment.rounds] == ["initial", "bound_unsaturated"]
    assert [each.modes for each in experiment.rounds] == [[], ["NS", "a"]]
    assert [each.train_depth for each in experiment.rounds] == [False, True]
    assert [each.reference for each in experiment.rounds] == [None, "0"]
    assert (experiment.left_flank_length, experiment.right_flank_length) == (0, 0)


def test_resolving_a_resolved_configuration_changes_nothing(folder: Path) -> None:
    text = MINIMAL.replace("[[", 'rounds = ["initial", "bound", "unbound"]\n[[')
    text = text.replace('"unbound"', '{ kind = "unbound", shares = 1, reference = 0 }')
    text += 'flank_length = 3\nsymmetry = "palindrome"\nposition_bias = true\n'
    text += '[[dimers]]\nmodes = ["a", "a"]\nspacing = [{offset=1, log_omega=2}]\n'
    probes = Probes(7, 10, n_columns=3, sha256=("x",))
    once = resolve(document_of(folder, text), [probes])
    written = to_toml(once.config.model_dump(exclude_none=True))
    twice = resolve(document_of(folder, written), [probes])
    assert twice.config == once.config
    assert once.config.experiments[0].left_flank_length == 3
    assert once.config.experiments[0].rounds[2].reference == "0"


def test_flanks_are_scored_as_far_as_any_mode_asks(folder: Path) -> None:
    text = MINIMAL + "flank_length = 4\n[[modes]]\nsize = 3\nflank_length = 2\n"
    experiment = resolve(document_of(folder, text), [TWO_ROUNDS]).config.experiments[0]
    assert (experiment.left_flank_length, experiment.right_flank_length) == (4, 4)
    text = text.replace("[[modes]]", "right_flank_length = 6\n[[modes]]", 1)
    experiment = resolve(document_of(folder, text), [TWO_ROUNDS]).config.experiments[0]
    assert (experiment.left_flank_length, experiment.right_flank_length) == (4, 6)


def test_mode_that_is_only_part_of_a_dimer_is_used(folder: Path) -> None:
    text = MINIMAL.replace("[[modes]]", 'modes = ["NS"]\n[[modes]]')
    text += '[[dimers]]\nmodes = ["a", "a"]\n'
    config = resolve(document_of(folder, text), [TWO_ROUNDS]).config
    assert config.experiments[0].rounds[1].modes == ["NS"]
    assert config.experiments[0].rounds[1].dimers == ["a-a"]


def test_nonspecific_mode_of_ones_own_takes_the_place_of_the_default(
    folder: Path,
) -> None:
    text = MINIMAL + '[[modes]]\nname = "own"\nkind = "nonspecific"\n'
    config = resolve(document_of(folder, text), [TWO_ROUNDS]).config
    assert config.nonspecific is False
    assert config.experiments[0].rounds[1].modes == ["a", "own"]


KINDS = {
    "initial": InitialRound,
    "bound": BoundRound,
    "bound_unsaturated": BoundUnsaturatedRound,
    "unbound": UnboundRound,
    "rho_gamma": RhoGammaRound,
    "exponential": ExponentialRound,
}


def test_rounds_of_every_kind_are_built_as_asked(folder: Path) -> None:
    text = MINIMAL.replace(
        "[[modes]]",
        """
rounds = [
    "initial",
    { kind = "bound", name = "b", library_concentration = 2.5, log_depth = 0.5 },
    { kind = "bound_unsaturated", reference = 0, train_depth = false },
    { kind = "unbound", reference = "initial", shares = "b" },
    { kind = "rho_gamma", rho = 0.5, gamma = -0.25, modes = ["NS"] },
    { kind = "exponential", name = "t1", delta = -3.0, target_concentration = 2.0 },
    { kind = "exponential", shares = "t1", train_delta = false },
]
[[modes]]""",
    ).replace('"initial",\n', '{ kind = "initial", name = "initial" },\n')
    document = resolve(document_of(folder, text), [Probes(10, 10, n_columns=7)])
    built = build_model(document)
    sections = document.config.experiments[0].rounds
    rounds = [built.experiments[0].rounds[str(each.name)] for each in sections]
    assert [type(each) for each in rounds] == [KINDS[each.kind] for each in sections]
    references = [
        None if each.reference_round is None else rounds.index(each.reference_round)
        for each in rounds
    ]
    assert references == [None, 0, 0, 0, 3, 4, 5]
    bound, unsaturated, unbound, free, first, second = rounds[1:]
    assert isinstance(bound, BoundRound)
    assert bound.library_concentration == 2.5
    assert bound.log_depth.item() == 0.5
    assert not unsaturated.train_depth
    assert isinstance(unbound, UnboundRound)
    assert unbound.aggregate is bound.aggregate
    assert isinstance(free, RhoGammaRound)
    assert (free.rho.item(), free.gamma.item()) == (0.5, -0.25)
    assert [str(part.binding) for part in free.aggregate.components()] == ["Mode-NS"]
    assert isinstance(first, ExponentialRound)
    assert isinstance(second, ExponentialRound)
    assert first.delta.item() == -3
    assert first.train_delta
    assert not second.train_delta
    assert not second.delta.requires_grad
    assert second.aggregate is not first.aggregate
    assert list(second.aggregate.components()) == list(first.aggregate.components())
    assert first.aggregate.log_target_concentration.item() == pytest.approx(math.log(2))


def test_values_reach_the_model(folder: Path) -> None:
    text = MINIMAL.replace(
        "[[modes]]",
        """
rounds = ["initial", { kind = "bound", log_activities = { NS = -1.5, a-a = 2.0 } }]
[[modes]]""",
    ).replace(
        "size = 4",
        """
symmetry = [1, 2, -2, -1]
pairwise_distance = 1
betas = { "1-2-5" = 0.75 }
[modes.energies]
A = [0.0, 1.0, 7.0, 6.0]
C = [2.0, 3.0, 5.0, 4.0]
G = [4.0, 5.0, 3.0, 2.0]
T = [6.0, 7.0, 1.0, 0.0]
[[dimers]]
modes = ["a", "a"]
log_omega = -1.0
[[dimers.spacing]]
offset = 2
log_omega = 3.0
[[dimers.spacing]]
offset = -6
orientation = "opposite"
log_omega = 4.0
""",
    )
    built = build_model(resolve(document_of(folder, text), [TWO_ROUNDS]))
    psam, spacing = built.specs.modes["a"], built.specs.spacings["a-a"]
    assert isinstance(psam, PSAM)
    letters = psam.get_filter(0)
    columns = [[0, 2, 4, 6], [1, 3, 5, 7], [7, 5, 3, 1], [6, 4, 2, 0]]
    assert letters[0].T.tolist() == columns
    assert psam.get_filter(1)[0, :, :, 0][1, 1].item() == 0.75
    values = torch.full((2, 13), -1.0)
    values[0, 6 + 2], values[1, 6 - 6] = 3.0, 4.0
    assert torch.equal(spacing.log_spacing, values)
    selected = built.experiments[0].rounds["1"]
    assert isinstance(selected, BoundRound)
    activities = [x.log_activity.item() for x in selected.aggregate.components()]
    assert activities == [-1.5, -math.inf, 2.0]


def test_alphabet_of_ones_own(folder: Path) -> None:
    text = MINIMAL.replace("size = 4", 'size = 2\nseed = "MK"')
    text += (
        '[alphabet]\nletters = "ACMKGT"\ncomplement = true\ncodes = { N = "ACMKGT" }\n'
    )
    built = build_model(resolve(document_of(folder, text), [TWO_ROUNDS]))
    assert built.alphabet.alphabet == tuple("ACMKGT")
    assert built.alphabet.complement
    psam = built.specs.modes["a"]
    assert isinstance(psam, PSAM)
    assert psam.get_filter(0)[0].argmax(0).tolist() == [2, 3]


def test_every_key_is_documented() -> None:
    text = (REPOSITORY / "docs/config.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`(\w+)`", text))
    for place, section in sections():
        for key in section.model_fields:
            shown = place.removesuffix(".") + "." + key
            is_section = _section_of(section.model_fields[key].annotation) is not None
            assert key in documented or is_section, shown


def test_documented_defaults_of_plain_values_are_the_defaults() -> None:
    text = (REPOSITORY / "docs/config.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `([^`|]+)` \|", text, flags=re.MULTILINE)
    assert len(rows) > 40
    known: dict[str, set[str]] = {}
    for _, section in sections():
        for key, field in section.model_fields.items():
            known.setdefault(key, set()).add(_as_written(field.default))
    for key, default in rows:
        assert _as_number(default) in known[key], (key, default, known[key])


def _as_written(value: object) -> str:
    if value is None or isinstance(value, BaseModel):
        return _as_number(str(getattr(value, "name", "false")))
    if isinstance(value, bool | str):
        return str(value).lower() if isinstance(value, bool) else value
    return _as_number(str(value))


def _as_number(text: str) -> str:
    try:
        return str(float(text))
    except ValueError:
        return text.strip('"')


EXAMPLES = {"bcd": (20, 5), "ctcf": (30, 2), "exd_hox": (16, 2)}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_fits_a_table_of_its_shape(folder: Path, name: str) -> None:
    length, n_rounds = EXAMPLES[name]
    text = (REPOSITORY / f"examples/{name}.toml").read_text(encoding="utf-8")
    document = document_of(folder, text)
    counts = "\t1" * n_rounds
    rows = (f"{probe}{counts}\n" for probe in random_probes(30, length))
    table = folder / document.config.experiments[0].table[0].removesuffix(".gz")
    table.write_text("".join(rows))
    (folder / "fit.toml").write_text(text.replace(".tsv.gz", ".tsv"))
    fit = _prepared(FitOptions(folder / "fit.toml", None, None, True, False))
    assert len(fit.train) == 1
    assert len(fit.built.specs.modes) == len(document.config.modes) + 1


def test_demo_reads_the_table_that_it_simulates() -> None:
    document = read_config(REPOSITORY / "examples/demo/fit.toml")
    table = (document.folder / document.config.experiments[0].table[0]).resolve()
    assert table == (REPOSITORY / "build/demo/counts.tsv.gz").resolve()
    truth = read_config(REPOSITORY / "examples/demo/truth.toml").config
    for key in ("left_flank", "right_flank"):
        assert getattr(truth.experiments[0], key) == getattr(
            document.config.experiments[0], key
        )


def test_readme_configuration_is_one(folder: Path) -> None:
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```toml\n(.*?)```", readme, flags=re.DOTALL)
    blocks += re.findall(
        r"```toml\n(.*?)```",
        (REPOSITORY / "docs/config.md").read_text(encoding="utf-8"),
        flags=re.DOTALL,
    )
    assert len(blocks) >= 2
    for text in blocks:
        resolve(document_of(folder, text), [Probes(20, 20, n_columns=5)])
