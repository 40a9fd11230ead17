"""Magenta's instruments of 2020 ("tone transfer"), converted to checkpoints of ddsp 3.7."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from reprise.lib.covers.instruments import Instrument, Range
from reprise.lib.covers.performance import MAGENTA_2020
from reprise.lib.nets.ddsp_library import import_ddsp
from reprise.lib.nets.instrument_network import InstrumentNetwork

CONFIG, SETTINGS = "operative_config-0.gin", "settings.json"
FILES = (CONFIG, SETTINGS, "ckpt-0.index", "ckpt-0.data-00000-of-00001")
"""Files of an instrument. The pickle beside them is not read."""

_WINDOW, _OVERLAP = 1250, 250
"""Frames. The network normalises over its window, so that only windows of this length sound right."""

_REACH = 14
"""Semitones that an instrument is expected to play above and below its mean pitch, of which alone we know."""


def load_magenta(name: str, files: Mapping[str, bytes]) -> Instrument:
    """Load an instrument from the contents of `FILES`.

    Its gin file is code: only files with a known checksum may be given.
    """
    import_ddsp()
    import ddsp.training
    import gin

    gin.clear_config()
    gin.parse_config(files[CONFIG].decode())
    network = InstrumentNetwork(ddsp.training.models.get_model, window=_WINDOW, overlap=_OVERLAP)
    gin.clear_config()
    with tempfile.TemporaryDirectory(prefix="instrument-") as folder:
        for file in FILES[2:]:
            Path(folder, file).write_bytes(files[file])
        network.autoencoder.restore(str(Path(folder, "ckpt-0")), verbose=False)
    settings = json.loads(files[SETTINGS])
    low_hz, high_hz = (440 * 2 ** ((settings["mean_pitch"] + offset - 69) / 12) for offset in (-_REACH, _REACH))
    span = Range(low_hz, high_hz, settings["mean_loudness"], None, settings["mean_max_loudness"])
    return Instrument(name, span, MAGENTA_2020, network, settings["post_gain"])
