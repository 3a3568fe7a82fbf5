"""[select] makes a configuration for each combination of what it lists."""

from pathlib import Path

import pytest

from pyprobound.config import (
    Candidate,
    Config,
    Probes,
    candidates_of,
    read_config,
    select_section,
    to_toml,
)
from pyprobound.errors import ConfigError

HEAD = '[experiment]\ntable = "counts.tsv"\nleft_flank = "ACGTA"\nright_flank = "CC"\n'
ONE = HEAD + '[[modes]]\nname = "tf"\nsize = 8\n'
TWO = ONE + '[[modes]]\nname = "co"\nsize = 6\n'
DIMER = TWO + '[[dimers]]\nmodes = ["tf", "co"]\n'


def candidates(folder: Path, text: str, n_columns: int = 2) -> list[Candidate]:
    path = folder / "fit.toml"
    path.write_text(text, encoding="utf-8")
    return candidates_of(read_config(path), [Probes(20, 20, n_columns)])


def names(found: list[Candidate]) -> list[str]:
    return [each.name for each in found]


def by_name(found: list[Candidate]) -> dict[str, Config]:
    return {each.name: each.document.config for each in found}


def test_candidates_are_the_product_of_the_options(tmp_path: Path) -> None:
    text = ONE + '[select]\nsizes = [8, 6]\nsymmetry = ["none", "palindrome"]\n'
    configs = by_name(candidates(tmp_path, text))
    # smaller ones first, and of the same size those with a symmetry
    assert list(configs) == [
        "size=6 symmetry=palindrome",
        "size=6 symmetry=none",
        "size=8 symmetry=palindrome",
        "size=8 symmetry=none",
    ]
    mode = configs["size=6 symmetry=palindrome"].modes[0]
    assert (mode.size, mode.symmetry) == (6, [1, 2, 3, -3, -2, -1])
    assert configs["size=8 symmetry=none"].modes[0].symmetry is None
    assert all(config.select is None for config in configs.values())


def test_a_size_need_not_be_given_where_sizes_are(tmp_path: Path) -> None:
    text = HEAD + '[[modes]]\nname = "tf"\n[select]\nsizes = [4, 5]\n'
    assert names(candidates(tmp_path, text)) == ["size=4", "size=5"]


def test_a_list_is_for_all_motifs_and_a_table_for_each(tmp_path: Path) -> None:
    together = by_name(candidates(tmp_path, TWO + "[select]\nsizes = [5, 7]\n"))
    assert [m.size for m in together["size=5"].modes] == [5, 5]
    text = TWO + "[select]\nsizes = { tf = [5, 7], co = 4 }\n"
    apart = by_name(candidates(tmp_path, text))
    assert list(apart) == ["tf.size=5 co.size=4", "tf.size=7 co.size=4"]
    assert [m.size for m in apart["tf.size=7 co.size=4"].modes] == [7, 4]
    rest = by_name(
        candidates(tmp_path, TWO + '[select]\nsizes = { tf = [5, 7], "*" = 4 }\n')
    )
    assert [m.size for m in rest["tf.size=7 size=4"].modes] == [7, 4]


def test_motifs_whose_energies_are_given_keep_their_shape(tmp_path: Path) -> None:
    known = '[[modes]]\nname = "known"\nconsensus = "TGAC"\ntrain = false\n'
    text = ONE + known + "[select]\nsizes = [5, 7]\nflank_lengths = [0, 2]\n"
    for config in by_name(candidates(tmp_path, text)).values():
        assert config.modes[1].size == 4
        assert config.modes[1].flank_length == config.modes[0].flank_length


def test_flank_lengths_are_scored_by_the_experiment(tmp_path: Path) -> None:
    text = ONE + "[select]\nflank_lengths = [2, 0, 5]\n"
    found = candidates(tmp_path, text)
    assert names(found) == ["flank_length=0", "flank_length=2", "flank_length=5"]
    scored = [each.document.config.experiments[0].left_flank_length for each in found]
    assert scored[:2] == [0, 2]
    # the right flank has two letters
    assert "right_flank: 5 letters are to be scored" in str(found[2].failure)


def test_further_modes_repeat_the_last_motif(tmp_path: Path) -> None:
    text = (
        HEAD + 'rounds = ["initial", { kind = "bound", modes = ["NS", "tf"] }]\n'
        '[[modes]]\nname = "tf"\nsize = 4\nseed = "TGAC"\n'
        "[select]\nn_modes = [1, 3]\n"
    )
    configs = by_name(candidates(tmp_path, text))
    modes = configs["n_modes=3"].modes
    assert [mode.name for mode in modes] == ["tf", "tf_2", "tf_3"]
    assert [mode.size for mode in modes] == [4, 4, 4]
    assert [mode.seed is None for mode in modes] == [False, True, True]
    bound = configs["n_modes=3"].experiments[0].rounds[1]
    assert bound.modes == ["NS", "tf", "tf_2", "tf_3"]


def test_fewer_modes_take_their_dimers_and_activities_along(tmp_path: Path) -> None:
    rounds = (
        'rounds = ["initial", { kind = "bound",'
        ' log_activities = { tf = 1.0, co = 2.0, "tf-co" = 3.0 } }]\n'
    )
    text = DIMER.replace("[[modes]]", rounds + "[[modes]]", 1)
    configs = by_name(candidates(tmp_path, text + "[select]\nn_modes = [1, 2]\n"))
    assert configs["n_modes=1"].dimers == []
    assert configs["n_modes=1"].experiments[0].rounds[1].log_activities == {"tf": 1.0}
    assert configs["n_modes=2"].dimers[0].name == "tf-co"


def test_a_dimer_comes_and_goes(tmp_path: Path) -> None:
    select = "[select]\ndimer = [true, false]\n"
    known = by_name(candidates(tmp_path, DIMER + select))
    assert list(known) == ["dimer=no", "dimer=yes"]
    assert [each.name for each in known["dimer=yes"].dimers] == ["tf-co"]
    assert known["dimer=no"].dimers == []
    two = by_name(candidates(tmp_path, TWO + select))
    assert two["dimer=yes"].dimers[0].modes == ["tf", "co"]
    alone = by_name(candidates(tmp_path, ONE + select))
    assert alone["dimer=yes"].dimers[0].modes == ["tf", "tf"]
    assert alone["dimer=yes"].experiments[0].rounds[1].dimers == ["tf-tf"]


def test_candidates_that_are_the_same_are_one(tmp_path: Path) -> None:
    text = DIMER + "[select]\nn_modes = [1, 2]\ndimer = [false, true]\n"
    assert names(candidates(tmp_path, text)) == [
        "n_modes=1 dimer=no",
        "n_modes=2 dimer=no",
        "n_modes=2 dimer=yes",
    ]


def test_saturation_is_that_of_all_bound_rounds(tmp_path: Path) -> None:
    found = candidates(tmp_path, ONE + "[select]\nsaturation = [true, false]\n", 3)
    kinds = [
        [each.kind for each in config.experiments[0].rounds]
        for config in by_name(found).values()
    ]
    assert kinds == [
        ["initial", "bound_unsaturated", "bound_unsaturated"],
        ["initial", "bound", "bound"],
    ]


def test_pairs_and_position_bias(tmp_path: Path) -> None:
    text = ONE + "[select]\npairwise_distance = [0, 1]\nposition_bias = [false, true]\n"
    configs = by_name(candidates(tmp_path, text))
    most = configs["pairwise_distance=1 position_bias=yes"].modes[0]
    assert most.pairwise_distance == 1
    assert most.position_bias is not None
    assert most.position_bias.mode == "channel"
    given = (
        ONE + "position_bias = { bin = 3 }\n[select]\nposition_bias = [true, false]\n"
    )
    configs = by_name(candidates(tmp_path, given))
    bias = configs["position_bias=yes"].modes[0].position_bias
    assert bias is not None
    assert bias.bin == 3
    assert configs["position_bias=no"].modes[0].position_bias is None


@pytest.mark.parametrize("section", ["", "[select]\n"])
def test_without_options_sizes_symmetry_modes_and_dimers_vary(
    tmp_path: Path, section: str
) -> None:
    assert names(candidates(tmp_path, ONE + section)) == [
        f"size={size} symmetry={symmetry}"
        for size in (6, 8, 10)
        for symmetry in ("palindrome", "none")
    ]
    text = DIMER.replace("size = 6", "size = 5") + section
    found = names(candidates(tmp_path, text))
    assert "tf.size=10 co.size=7 symmetry=none n_modes=2 dimer=yes" in found
    assert len(found) == 3 * 2 * 3


def test_true_stands_for_a_section_without_options(tmp_path: Path) -> None:
    assert len(candidates(tmp_path, "select = true\n" + ONE)) == 6


def test_a_section_is_written_as_it_is_read(tmp_path: Path) -> None:
    text = ONE + "[select]\nsizes = [4, 5]\nsymmetry = { tf = 'none' }\n"
    found = candidates(tmp_path, text)
    config = read_config(tmp_path / "fit.toml").config
    again = to_toml(config.model_dump(exclude_none=True))
    assert names(candidates(tmp_path, again)) == names(found)


def test_motifs_that_cannot_be_palindromes_are_not_asked_to_be(tmp_path: Path) -> None:
    odd = ONE.replace("size = 8", "size = 7")
    assert names(candidates(tmp_path, odd)) == ["size=5", "size=7", "size=9"]
    text = 'alphabet = "protein"\n' + HEAD.replace("ACGTA", "").replace("CC", "")
    text += '[[modes]]\nname = "tf"\nsize = 2\n'
    assert names(candidates(tmp_path, text)) == ["size=2", "size=4"]


def test_what_cannot_be_resolved_says_why(tmp_path: Path) -> None:
    text = ONE + '[select]\nsizes = [5, 6]\nsymmetry = "palindrome"\n'
    five, six = candidates(tmp_path, text)
    assert str(five.failure).endswith("even number of positions, not 5")
    assert six.failure is None


def test_defaults_of_the_division(tmp_path: Path) -> None:
    path = tmp_path / "fit.toml"
    path.write_text("seed = 7\n" + ONE + "[select]\nsizes = [4, 5]\n")
    section = select_section(read_config(path))
    assert (section.held_out, section.folds, section.seed) == (0.2, 1, 7)


ERRORS = {
    "sizes = [8, 0]": "select.sizes: input should be greater than or equal to 1, not 0",
    "sizes = []": "select.sizes: value should have at least 1 item",
    'symmetry = ["mirror"]': "select.symmetry: input should be 'none' or 'palindrome'",
    "size = [4]": "select.size: unknown key; did you mean sizes?",
    "held_out = 1.0": "select.held_out: input should be less than 1",
    "folds = 0": "select.folds: input should be greater than or equal to 1",
    "sizes = { other = [4] }": "select.sizes.other: there is no motif 'other'; there"
    " are 'tf'",
    "folds = 3\nheld_out = 0.1": "select.held_out: 3 folds hold out all in turn; keep",
    "sizes = [4, 5, 6]\nmax_candidates = 2": "select.max_candidates: 3 candidates are"
    " more than 2; leave values out, or raise max_candidates",
    "sizes = [4]": "select: the only candidate is size=4; give values to choose from",
    "flank_lengths = [8, 9]": "experiment.left_flank: 8 letters are to be scored, but",
}


@pytest.mark.parametrize("text", ERRORS)
def test_errors_name_the_key(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        candidates(tmp_path, ONE + "[select]\n" + text + "\n")
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{tmp_path}/fit.toml:")
    assert ERRORS[text] in message


def test_errors_of_what_is_not_there(tmp_path: Path) -> None:
    fixed = HEAD + '[[modes]]\nconsensus = "TGAC"\ntrain = false\n'
    cases = {
        HEAD + "[select]\nn_modes = [1, 2]\n": "select.n_modes: there is no motif",
        HEAD + "[select]\ndimer = [true]\n": "select.dimer: there is no motif",
        HEAD: "select: no motif is free to be varied; give options in [select]",
        fixed + "[select]\nsizes = [4, 5]\n": "select.sizes: no motif is free to be",
        HEAD + 'rounds = ["initial", "rho_gamma"]\n'
        "[select]\nsaturation = [true, false]\n": "select.saturation: no round is",
    }
    for text, message in cases.items():
        with pytest.raises(ConfigError) as caught:
            candidates(tmp_path, text)
        assert message in str(caught.value)
