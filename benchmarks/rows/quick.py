"""What the quick study spends on neither training, decoding nor the start of Python and TensorFlow."""

from pathlib import Path
from unittest.mock import patch

from benchmarks import quick_overhead
from benchmarks.arms import Setting
from lesion_utils.paths import write_json


def measure(setting: Setting) -> list[dict]:
    """The entry of ``quick_overhead``; a smoke run reads a recording of three made-up seconds and runs no study."""
    if not setting.smoke:
        return quick_overhead.measure(setting.rounds)
    recording = _made_up(setting.scratch / "recording.json")
    spent = quick_overhead.profile.attribute(recording)
    with patch.object(quick_overhead.profile, "profile", return_value=(spent, 0.0)):
        return quick_overhead.measure(1)


def _made_up(path: Path) -> Path:
    """A process that starts for a second, trains for one, and draws a figure in the third."""
    fit, figures = "keras/src/backend/tensorflow/trainer.py", "lesion_utils/figures.py"
    frames = [("B", "<module>", "__main__.py", 1), ("B", "fit", fit, 1), ("E", "fit", fit, 2)]
    frames += [("B", "curves", figures, 2), ("E", "curves", figures, 3), ("E", "<module>", "__main__.py", 3)]
    events = [
        {"pid": 1, "tid": 1, "ph": phase, "ts": second * 1e6, "name": name, "args": {"filename": file, "line": 1}}
        for phase, name, file, second in frames
    ]
    write_json(path, events)
    process = {"pid": 1, "parent": 0, "start": 0.0, "end": 3.0, "command": "python -m lesion_utils"}
    write_json(path.with_suffix(".processes.json"), {"processes": [process]})
    return path
