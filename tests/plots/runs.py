"""Small runs with something to see for every picture, made in seconds."""

from pathlib import Path

from pyprobound.cli._fit import FitOptions, run_fit
from pyprobound.cli._simulate import run_simulate

PAIR = "pair"
"""An experiment with two motifs, letter pairs, their dimer and a position bias."""
KD_SEQ = "kd"
"""An experiment with an input, a bound and an unbound library."""
RATES = "rates"
"""An experiment with two exponential rounds."""

_PAIR = """\
seed = 3
[experiment]
name = "pair"
left_flank = "GTTCAGAGTTCTACA"
right_flank = "CCAGCTGTCGTATGC"
flank_length = 2
[[experiment.rounds]]
kind = "initial"
name = "R0"
[[experiment.rounds]]
kind = "bound_unsaturated"
name = "R1"
log_activities = { NS = -5.0, exd = -1.0, hox = -1.0, exd-hox = 0.0 }
[[experiment.rounds]]
kind = "bound_unsaturated"
name = "R2"
log_activities = { NS = -5.0, exd = -1.0, hox = -1.0, exd-hox = 0.0 }
[[modes]]
name = "exd"
consensus = "TGA"
scale = 1.5
pairwise_distance = 1
[[modes]]
name = "hox"
consensus = "TTAT"
scale = 1.5
position_bias = true
[[dimers]]
modes = ["exd", "hox"]
max_overlap = 1
max_spacing = 3
spacing = [{ offset = 3, log_omega = 3.0 }, { offset = 4, log_omega = 1.0 }]
[optimizer]
procedure = "simultaneous"
epochs = 8
validation_fraction = 0.1
[simulate]
n_probes = 1500
length = 12
reads = 20000
"""
_KD_SEQ = """\
seed = 11
[experiment]
name = "kd"
[[experiment.rounds]]
kind = "initial"
name = "input"
[[experiment.rounds]]
kind = "bound"
name = "bound"
target_concentration = 50
library_concentration = 20
log_activities = { NS = -6.0, tf = -2.0 }
[[experiment.rounds]]
kind = "unbound"
name = "unbound"
shares = "bound"
reference = "input"
[[modes]]
name = "tf"
consensus = "TAATC"
[optimizer]
epochs = 4
[simulate]
n_probes = 1500
length = 10
reads = 20000
"""
_RATES = """\
seed = 12
[experiment]
name = "rates"
[[experiment.rounds]]
kind = "initial"
name = "input"
[[experiment.rounds]]
kind = "exponential"
name = "5min"
reference = "input"
log_activities = { NS = -6.0, site = 0.0 }
[[experiment.rounds]]
kind = "exponential"
name = "20min"
reference = "input"
shares = "5min"
target_concentration = 4
[[modes]]
name = "site"
consensus = "RRAS"
[optimizer]
epochs = 4
[simulate]
n_probes = 1500
length = 8
reads = 20000
"""
_CONFIGURATIONS = {PAIR: _PAIR, KD_SEQ: _KD_SEQ, RATES: _RATES}


def small_run(name: str, folder: Path) -> Path:
    """Simulate one of the experiments above in a folder, fit it, and return the run."""
    truth, fit = folder / "truth.toml", folder / "fit.toml"
    text = _CONFIGURATIONS[name]
    truth.write_text(text)
    run_simulate(truth, folder / "data", None, force=False)
    before, _, after = text.partition('name = "')
    fit.write_text(f'{before}table = "data/counts.tsv.gz"\nname = "{after}')
    options = FitOptions(fit, folder / "run", None, quiet=True, force=False)
    assert run_fit(options) == 0
    return folder / "run"
