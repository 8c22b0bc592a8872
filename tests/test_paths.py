"""Where files are written: beside, then renamed; but never in the place of a device."""

import json
import os

from lesion_utils.paths import write_json


def test_what_is_written_to_a_pipe_or_a_device_leaves_it_there(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_json(pipe, {"a": 1})
    assert pipe.is_fifo() and json.loads(os.read(reader, 100)) == {"a": 1}
    os.close(reader)
