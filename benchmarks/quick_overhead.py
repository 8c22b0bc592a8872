"""How much of the quick study's wall time is neither training, decoding nor the start of Python and TensorFlow.

    .venv/bin/python -m benchmarks.quick_overhead --rounds 3        # minutes a round; prints the entry, writes nothing

Each round is a whole study into a fresh folder under py-spy; ``study_profile`` says how an instant finds its activity.

* Training: all inside of Keras' ``fit`` and ``predict``: steps, feed, validation, metrics, the tracing of the graphs
  that the steps are; the pass through a frozen backbone. Not: building, compiling, saving and loading models,
  checkpoints included, though ``fit`` calls for them, and Augmentor's copies.
* Decoding: JPEG files opened, decoded and resized for training, audit and probes. Not: drawing the phantom and encoding
  it, hashing files or pixels, and the hashes of near-duplicates.
* Start of Python and TensorFlow: each process until its first stack, and the import of TensorFlow and Keras. Not:
  the import of anything else (pandas, scikit-learn, Jupyter, Snakemake, this package), and the end of a process.
* The rest is what the row counts, that nothing is known of included.
"""

import argparse
import statistics

from benchmarks import study_profile as profile
from benchmarks.lines import entry

COUNTED_OUT = (
    profile.TRAINING,
    profile.PREDICT,
    profile.TRACING,
    profile.DECODING,
    profile.START,
    profile.TENSORFLOW,
)


def measure(rounds: int) -> list[dict]:
    """The one entry of ``results.json``: the median of the share, the seconds of the rest of the median round."""
    shares, seconds = [], []
    for _ in range(rounds):
        spent, _ = profile.profile("quick", [])
        rest = sum(value for (activity, _), value in spent.items() if activity not in COUNTED_OUT)
        shares.append(rest / sum(spent.values()))
        seconds.append(rest)
    return [entry("quick", shares, statistics.median(seconds))]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    print(measure(parser.parse_args().rounds))
