"""Motif files as their programs write them, and what their numbers mean."""

import io
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from Bio import motifs as bio
from Bio.motifs.jaspar import calculate_pseudocounts

from pyprobound import Mode, alphabets, probound
from pyprobound.errors import InputError, PyProBoundError
from pyprobound.layers import PSAM
from pyprobound.motifs import FORMATS, Motif, read_motifs, write_motifs
from pyprobound.probound._model import Lengths

GOLDEN = Path(__file__).parents[1] / "golden/data/probound"

MEME = """\
MEME version 4.12.0 (Release date: x)

ALPHABET= ACGT
strands: + -

Background letter frequencies (from uniform background):
A 0.3 C 0.2
G 0.2 T 0.3

MOTIF MA0004.1 Arnt

letter-probability matrix: alength= 4 w= 2 nsites= 20 E= 1.2e-3
  0.2000000  0.8000000  0.0000000  0.0000000
  0.9500000  0.0000000  0.0500000  0.0000000
URL http://x

MOTIF other
log-odds matrix: alength= 4 w= 1
 -100 50 0 0
letter-probability matrix:
0.1 0.2 0.3 0.4
"""
JASPAR = """\
>MA0004.1\tArnt
A  [ 4 19  0  0  0  0 ]
C  [16  0 20  0  0  0 ]
G  [ 0  1  0 20  0 20 ]
T  [ 0  0  0  0 20  0 ]
"""
PFM = """\
>MA0004.1 Arnt
 4 19  0  0  0  0
16  0 20  0  0  0
 0  1  0 20  0 20
 0  0  0  0 20  0
"""
TRANSFAC = """\
VV  TRANSFAC MATRIX TABLE
XX
//
AC  MA0004.1
XX
ID  Arnt
XX
P0      A      C      G      T
01      4     16      0      0      C
02     19      0      1      0      A
03      0     20      0      0      C
04      0      0     20      0      G
05      0      0      0     20      T
06      0      0     20      0      G
XX
//
"""
COUNTS = [[4, 19, 0, 0, 0, 0], [16, 0, 20, 0, 0, 0], [0, 1, 0, 20, 0, 20]]
COUNTS.append([0, 0, 0, 0, 20, 0])
HOMER = """\
>CACGTG\tArnt(bHLH)/x/Homer\t6.5\t-10.1\t0\tT:20.0(50%),P:1e-9
0.1\t0.7\t0.1\t0.1
0.7\t0.1\t0.1\t0.1
"""
UNIPROBE = """\
Protein: Arnt\tSeed k-mer: CACGTG\tEnrichment Score: 0.49
A:\t0.1\t0.7
C:\t0.7\t0.1
G:\t0.1\t0.1
T:\t0.1\t0.1
"""
CISBP = """\
TF\tT025973_1.02
TF Name\tArnt
Motif\tM0118_1.02
Pos\tA\tC\tG\tT
1\t0.1\t0.7\t0.1\t0.1
2\t0.7\t0.1\t0.1\t0.1
"""
PCM = ">AHR_HUMAN.H11MO.0.B\n40.5\t18.5\t56.5\t39\n10.5\t11.5\t23\t109.5\n"
PWM = ">AHR_HUMAN.H11MO.0.B\n0.5\t-0.25\t1.5\t0\n-1\t-2\t-3\t0.75\n"
PROBABILITIES = [[0.1, 0.7], [0.7, 0.1], [0.1, 0.1], [0.1, 0.1]]

FILES = {
    "meme": ("a.meme", MEME, [[0.2, 0.95], [0.8, 0], [0, 0.05], [0, 0]]),
    "jaspar": ("a.txt", JASPAR, COUNTS),
    "pfm": ("a.pfm", PFM, COUNTS),
    "transfac": ("a.dat", TRANSFAC, COUNTS),
    "homer": ("a.motif", HOMER, PROBABILITIES),
    "uniprobe": ("a.txt", UNIPROBE, PROBABILITIES),
    "cisbp": ("a.txt", CISBP, PROBABILITIES),
    "hocomoco-pcm": (
        "a.pcm",
        PCM,
        [[40.5, 10.5], [18.5, 11.5], [56.5, 23], [39, 109.5]],
    ),
    "hocomoco-pwm": ("a.txt", PWM, [[0.5, -1], [-0.25, -2], [1.5, -3], [0, 0.75]]),
}


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("is_said", [False, True])
def test_a_file_of_each_program(name: str, is_said: bool, tmp_path: Path) -> None:
    file, text, values = FILES[name]
    path = written(tmp_path, file, text)
    first, *rest = read_motifs(path, name if is_said else None)
    assert first.kind == FORMATS[name].kind
    np.testing.assert_array_equal(first.values, values)
    known = {"meme", "jaspar", "pfm", "transfac"}
    if name in known:
        assert (first.identifier, first.name) == ("MA0004.1", "Arnt")
    assert [each.name for each in rest] == (["other"] if name == "meme" else [])


REPORT = """\
********************************************************************************
MEME - Motif discovery tool
********************************************************************************
MEME version 5.5.0 (Release date: x)

ALPHABET= ACGT
Background letter frequencies (from file dataset with add-one prior applied):
A 0.25 C 0.25 G 0.25 T 0.25

MOTIF CACGTG MEME-1	width =   2  sites =   4  llr = 12  E-value = 1.2e-001
--------------------------------------------------------------------------------
	Motif CACGTG MEME-1 position-specific scoring matrix
--------------------------------------------------------------------------------
log-odds matrix: alength= 4 w= 2 n= 100 bayes= 7 E= 1.2e-001
   -10    10   -20    0
   -10    10   -20    0
--------------------------------------------------------------------------------
	Motif CACGTG MEME-1 position-specific probability matrix
--------------------------------------------------------------------------------
letter-probability matrix: alength= 4 w= 2 nsites= 4 E= 1.2e-001
 0.000000  1.000000  0.000000  0.000000
 0.250000  0.250000  0.250000  0.250000
--------------------------------------------------------------------------------
"""


def test_the_report_of_meme(tmp_path: Path) -> None:
    (motif,) = read_motifs(written(tmp_path, "meme.txt", REPORT))
    assert (motif.identifier, motif.name, motif.n_sites) == ("CACGTG", "MEME-1", 4)
    np.testing.assert_array_equal(motif.values[:, 1], [0.25] * 4)


def test_all_that_a_file_says(tmp_path: Path) -> None:
    meme, other = read_motifs(written(tmp_path, "a.meme", MEME))
    assert meme.n_sites == 20
    assert other.n_sites is None
    np.testing.assert_array_equal(meme.background, [0.3, 0.2, 0.2, 0.3])
    homer = read_motifs(written(tmp_path, "a.homer", HOMER))
    write_motifs(tmp_path / "b.homer", homer)
    assert (
        (tmp_path / "b.homer")
        .read_text()
        .splitlines()[0]
        .endswith("\tArnt(bHLH)/x/Homer\t6.5\t-10.1\t0\tT:20.0(50%),P:1e-9")
    )
    cisbp = read_motifs(written(tmp_path, "a.cisbp", CISBP))[0]
    assert (cisbp.name, cisbp.identifier) == ("Arnt", "M0118_1.02")


@pytest.mark.parametrize(("name", "text"), [("jaspar", JASPAR), ("transfac", TRANSFAC)])
def test_counts_and_weights_are_those_of_biopython(
    name: str, text: str, tmp_path: Path
) -> None:
    ours = read_motifs(written(tmp_path, "a.txt", text), name)[0]
    theirs = bio.parse(io.StringIO(text), name)[0]
    np.testing.assert_array_equal(ours.values, [theirs.counts[x] for x in "ACGT"])
    theirs.pseudocounts = calculate_pseudocounts(theirs)
    odds = np.array([theirs.pssm[x] for x in "ACGT"]) * np.log(2)
    np.testing.assert_allclose(ours.energies(), odds - odds.max(0), rtol=1e-12)


def test_what_is_written_is_read_by_biopython(tmp_path: Path) -> None:
    given = Motif("n", "ACGT", np.array([[9.0, 1], [2, 3], [0, 4], [5, 6]]), "counts")
    for name in ("jaspar", "transfac"):
        path = tmp_path / f"a.{name}"
        write_motifs(path, [given])
        if name == "transfac":  # its columns are to be two blanks apart
            path.write_text(path.read_text().replace("\t", "  "))
        with path.open() as file:
            found = bio.parse(file, name)[0]
        np.testing.assert_array_equal([found.counts[x] for x in "ACGT"], given.values)
    frequencies = Motif("n", "ACGT", given.values / given.values.sum(0), n_sites=16)
    write_motifs(tmp_path / "a.meme", [given])
    with (tmp_path / "a.meme").open() as file:
        found = bio.parse(file, "minimal")[0]
    np.testing.assert_allclose(  # it rounds to whole counts
        [found.counts[x] for x in "ACGT"],
        frequencies.values * found.num_occurrences,
        atol=0.5,
    )


# --- conventions --------------------------------------------------------------------


def test_energies_and_probabilities_by_hand() -> None:
    q = np.array([0.4, 0.1, 0.2, 0.3])
    energies = np.array([[0.0], [-1], [-2], [-3]])
    weights = [0.4, 0.1 * np.exp(-1), 0.2 * np.exp(-2), 0.3 * np.exp(-3)]
    motif = Motif("m", "ACGT", energies, background=q)
    p = motif.probabilities()
    np.testing.assert_allclose(p[:, 0], np.array(weights) / sum(weights), rtol=1e-15)
    back = Motif("m", "ACGT", p, "probabilities", background=q)
    np.testing.assert_allclose(back.energies(), energies, atol=1e-14)
    counts = Motif("m", "ACGT", [[8.0], [1], [0], [7]], "counts", pseudocount=2.0)  # type: ignore[arg-type]
    smoothed = np.log([8.5, 1.5, 0.5, 7.5])
    np.testing.assert_allclose(counts.energies()[:, 0], smoothed - smoothed.max())


def test_a_letter_that_never_occurs_has_a_finite_energy() -> None:
    p = np.array([[1, 0.5, 1 - 1e-12], [0, 0.5, 1e-12], [0, 0, 0], [0, 0, 0]])
    energies = Motif("m", "ACGT", p, "probabilities").energies()
    np.testing.assert_allclose(energies[1], [-20, 0, np.log(1e-12)], rtol=1e-9)
    np.testing.assert_allclose(energies[2], [-20, -20, np.log(1e-12)], rtol=1e-9)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"letters": "AACG"}, "different"),
        ({"values": np.zeros((3, 2))}, "shape"),
        ({"values": np.full((4, 2), np.nan)}, "finite"),
        ({"kind": "counts", "values": -np.ones((4, 2))}, "below 0"),
        ({"kind": "counts", "values": np.zeros((4, 2))}, "position 1: counts sum to 0"),
        ({"kind": "probabilities", "values": np.ones((4, 2))}, "sum to 4, not 1"),
        ({"n_sites": -1.0}, "-1 sites"),
        ({"pseudocount": -1.0}, "below 0"),
        ({"pairs": (np.zeros((2, 4, 4)),)}, "pairs of shape"),
        ({"background": np.array([1.0, 0, 0, 0])}, "background"),
    ],
)
def test_a_motif_does_not_contradict_itself(
    changes: dict[str, object], reason: str
) -> None:
    arguments = {"name": "m", "letters": "ACGT", "values": np.zeros((4, 2))} | changes
    with pytest.raises(ValueError, match=reason):
        Motif(**arguments)  # type: ignore[arg-type]


# --- bad files ----------------------------------------------------------------------

BAD = {
    "meme": [
        (MEME.replace("w= 2", "w= 3"), "line 12: a matrix of 2 rows, not 3"),
        (MEME.replace("0.9500000", "0.95x"), "line 14: '0.95x' is no number"),
        (MEME.replace("0.9500000", "0.1"), "position 2: probabilities sum to 0.15"),
        (MEME.replace("ALPHABET= ACGT", 'ALPHABET "x" DNA-LIKE'), "line 3"),
    ],
    "jaspar": [
        (JASPAR.replace("T  [", "A  ["), "line 1: a matrix of 4 rows"),
        ("\n".join(JASPAR.splitlines()[:-1]), "line 1: a matrix of 3 rows"),
        (JASPAR.replace("[ 4 19", "[ 4"), "line 3: 6 numbers, not 5"),
        (JASPAR.replace(">", ""), "line 1: .*begins with '>'"),
        (JASPAR.replace("19", "-19"), "position 2: counts below 0"),
    ],
    "transfac": [
        (TRANSFAC.removesuffix("//\n"), "ends before the '//'"),
        (TRANSFAC.replace("02     19", "02"), "line 10: .* is no number"),
        (TRANSFAC.replace("A      C", "A      A"), "line 8: .*letters"),
    ],
    "homer": [
        (HOMER.replace("0.7\t0.1\t0.1\t0.1", "0.7\t0.1"), "line 3: 2 numbers, not 4"),
        (HOMER.split("\n", 1)[0], "line 1: a matrix without positions"),
        (HOMER.replace("\t", " ", 9), "line 1: .*with tabs"),
    ],
    "uniprobe": [
        (UNIPROBE.replace("G:\t0.1", "G:"), "line 4: 1 numbers, not 2"),
        ("\n".join(UNIPROBE.splitlines()[:-1]), "line 2: rows of ACG;"),
    ],
    "cisbp": [
        (CISBP.replace("Pos", "Position"), "line 4"),
        (CISBP.replace("\tG\t", "\tX\t"), "line 4: columns"),
        (CISBP.replace("2\t0.7\t", "2\t"), "line 6: 3 numbers, not 4"),
    ],
    "hocomoco-pwm": [(PWM.replace("-0.25", "--0.25"), "line 2: '--0.25' is no number")],
    "probound": [("{}", "no modelSettings"), ("[1]", "file"), ('{"a"', "line 1")],
    "motifcentral": [("[{}]", "entry 0 is no model"), ("[]", "no motif")],
    "pyprobound": [
        ("[[modes]]\nsize = 4\n", "no mode with energies"),
        ("[[modes]]\nenergies = {A = [1], C = [1, 2]}\n", r"modes\[0\].energies: rows"),
        ("[[modes]\n", "no TOML"),
    ],
}


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [(name, *case) for name, cases in BAD.items() for case in cases],
)
def test_bad_files_are_told_with_their_line(
    name: str, text: str, reason: str, tmp_path: Path
) -> None:
    suffix = ".toml" if name == "pyprobound" else ".txt"
    path = written(tmp_path, f"file{suffix}", text)
    with pytest.raises(PyProBoundError, match=reason) as raised:
        read_motifs(path, name)
    assert str(raised.value).startswith(str(path))


def test_unknown_formats_and_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_motifs(tmp_path / "none")
    with pytest.raises(InputError, match="empty"):
        read_motifs(written(tmp_path, "a", " \n"))
    with pytest.raises(InputError, match="in no known format"):
        read_motifs(written(tmp_path, "a", "hello\n"))
    square = ">m\n1\t2\t3\t4\n" + "1\t2\t3\t4\n" * 3
    with pytest.raises(InputError, match="in no known format"):
        read_motifs(written(tmp_path, "a", square))
    with pytest.raises(PyProBoundError, match="no motif format 'x'"):
        read_motifs(tmp_path / "a", "x")
    with pytest.raises(PyProBoundError, match="tells no format"):
        write_motifs(tmp_path / "b", [])


# --- what is lost -------------------------------------------------------------------


def pairwise() -> Motif:
    rng = np.random.default_rng(0)
    return Motif(
        "m",
        "ACGT",
        rng.normal(size=(4, 5)),
        identifier="id",
        background=np.array([0.1, 0.2, 0.3, 0.4]),
        pairs=(rng.normal(size=(4, 4, 4)),),
        log_activity=1.0,
        complement="",
        left_out=("dimers",),
    )


def test_one_warning_names_all_that_is_lost(tmp_path: Path) -> None:
    nothing = Motif("ns", "ACGT", np.zeros((4, 0)))
    with pytest.warns(UserWarning, match="not kept in HOMER") as caught:
        write_motifs(tmp_path / "a.homer", [pairwise(), nothing])
    assert len(caught) == 1
    said = str(caught[0].message)
    for words in ("dimers", "non-specific", "pairs", "activities", "scale", "strand"):
        assert words in said
    assert "background" in said
    assert "accessions" in said


def test_letter_pairs_become_single_mutants(tmp_path: Path) -> None:
    motif = pairwise()
    with pytest.warns(UserWarning, match="pairs"):
        write_motifs(tmp_path / "a.pwm", [motif])
    found = read_motifs(tmp_path / "a.pwm")[0].values

    def score(word: tuple[int, ...]) -> float:
        single = sum(motif.values[x, i] for i, x in enumerate(word))
        pairs = itertools.pairwise(word)
        return float(
            single + sum(motif.pairs[0][i, a, b] for i, (a, b) in enumerate(pairs))
        )

    best = max(np.ndindex(4, 4, 4, 4, 4), key=score)
    for position in range(5):
        mutants = [(*best[:position], x, *best[position + 1 :]) for x in range(4)]
        wanted = [score(mutant) - score(best) for mutant in mutants]
        np.testing.assert_allclose(found[:, position], wanted, atol=1e-12)


def test_a_format_refuses_letters_that_it_has_no_place_for(tmp_path: Path) -> None:
    protein = Motif("p", "ACDEFGHIKLMNPQRSTVWY", -np.eye(20)[:, :3])
    write_motifs(tmp_path / "a.meme", [protein])
    assert read_motifs(tmp_path / "a.meme")[0].letters == protein.letters
    with pytest.raises(PyProBoundError, match="HOMER holds letters ACGT alone"):
        write_motifs(tmp_path / "a.homer", [protein])
    assert not (tmp_path / "a.homer").exists()
    rna = Motif("r", "ACGU", -np.eye(4))
    with pytest.raises(PyProBoundError, match="'p' and 'r' differ"):
        write_motifs(tmp_path / "a.meme", [protein, rna])


# --- models -------------------------------------------------------------------------


def scores(path: Path, seqs: list[str]) -> torch.Tensor:
    document = probound.read(path)
    numbers = probound.numbers_of(document, document.content.coefficients)
    model = probound.scoring_model(document, numbers)
    codes = torch.stack([model.alphabet.translate(seq) for seq in seqs])
    return model.log_affinity(codes)


@pytest.mark.parametrize("name", ["mc_10648", "syn_di1_k8", "syn_di3_k9"])
def test_scoring_models_score_the_same_again(name: str, tmp_path: Path) -> None:
    source = GOLDEN / "scoring" / f"{name}.json"
    seqs = (GOLDEN / "scoring" / "seqs40.txt").read_text().split()[:20]
    write_motifs(tmp_path / "a.json", read_motifs(source))
    torch.testing.assert_close(
        scores(tmp_path / "a.json", seqs), scores(source, seqs), rtol=0, atol=0
    )


def test_a_fit_is_read_as_its_consensus(tmp_path: Path) -> None:
    folder = GOLDEN / "full"
    config = json.loads((folder / "selex_int_posbias.config.json").read_text())
    case = json.loads((folder / "selex_int_posbias.json").read_text())
    source = tmp_path / "fit.json"
    source.write_text(json.dumps(config | {"coefficients": case["coefficients"]}))
    motifs = read_motifs(source)
    document = probound.read(source)
    numbers = probound.numbers_of(document, document.content.coefficients)
    _, wanted = probound.consensus(document, numbers)
    assert "dimers" in motifs[0].left_out
    for motif, own in zip(motifs, wanted.modes, strict=True):
        assert motif.log_activity == own.activity[0][0]
        if motif.is_specific:
            np.testing.assert_array_equal(motif.values.T, own.letters)


def test_energies_of_a_configuration(tmp_path: Path) -> None:
    given = Motif("m", "ACGT", -np.arange(8.0).reshape(4, 2), complement="")
    write_motifs(tmp_path / "a.toml", [given])
    found = read_motifs(tmp_path / "a.toml")[0]
    assert (found.name, found.letters, found.complement) == ("m", "ACGT", "")
    np.testing.assert_array_equal(found.values, given.values)


# --- MotifCentral -------------------------------------------------------------------


@pytest.mark.shared
def test_every_entry_of_motif_central(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "MotifCentral.v1.0.0.json"
    entries = json.loads(source.read_text())
    motifs = read_motifs(source)
    assert len(motifs) == len(entries) == 874
    write_motifs(tmp_path / "a.json", motifs, "motifcentral")
    again = read_motifs(tmp_path / "a.json")
    rng = np.random.default_rng(0)
    seqs = ["".join(rng.choice(list("ACGT"), 60)) for _ in range(3)]
    codes = torch.stack([alphabets.DNA().translate(seq) for seq in seqs])
    for entry, old, new in zip(entries, motifs, again, strict=True):
        matrix = entry["coefficients"]["bindingModes"][0]["mononucleotide"]
        np.testing.assert_array_equal(old.values.T.ravel(), matrix)
        np.testing.assert_array_equal(new.values, old.values)
        assert new.metadata == old.metadata
        assert old.metadata["probound"] == entry["metadata"]
        assert (new.name, new.identifier) == (
            old.name,
            str(entry["metadata"]["fit_id"]),
        )
    for old, new in list(zip(motifs, again, strict=True)):
        found = [_score(each, codes) for each in (old, new)]
        torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
        assert bool(torch.isfinite(found[0]).all())


def _score(motif: Motif, codes: torch.Tensor) -> torch.Tensor:
    """Return log Σ over windows and strands of e^(sum of energies), by indexing."""
    values = torch.from_numpy(motif.values)
    windows = codes.long().unfold(1, motif.size, 1)
    forward = values[windows, torch.arange(motif.size)].sum(-1)
    reverse = values.flip(0, 1)[windows, torch.arange(motif.size)].sum(-1)
    return torch.cat([forward, reverse], 1).logsumexp(1)


def test_scores_of_a_motif_are_those_of_its_psam() -> None:
    source = GOLDEN / "scoring" / "mc_10648.json"
    motif = read_motifs(source)[0]
    seqs = (GOLDEN / "scoring" / "seqs40.txt").read_text().split()[:5]
    codes = torch.stack([alphabets.DNA().translate(seq) for seq in seqs])
    psam = PSAM(motif.size, alphabets.DNA()).double()
    with torch.no_grad():
        values = torch.from_numpy(motif.values.T.reshape(1, -1).copy())
        psam.betas.packed(0).copy_(values)
        found = Mode.from_psam(psam, Lengths(codes.shape[1]))(codes)
    torch.testing.assert_close(found, _score(motif, codes), rtol=1e-12, atol=0)
    torch.testing.assert_close(found, scores(source, seqs), rtol=1e-12, atol=0)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PyProBoundError, match="no such file"):
        read_motifs(tmp_path)
    shutil.copy(GOLDEN / "scoring" / "mc_10648.json", tmp_path / "model.pt")
    with pytest.raises(PyProBoundError, match="config"):
        read_motifs(tmp_path / "model.pt")
