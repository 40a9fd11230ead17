"""Notes of polyphonic audio, read by the network of basic-pitch (Bittner et al. 2022).

The network is the file ``nmp.onnx`` in the package ``basic-pitch`` 0.4.0 (Apache-2.0 licence),
https://github.com/spotify/basic-pitch. Nothing else of the package is used. The network sees windows of 43,844 samples
at 22,050 Hz. Every 256 samples, it returns the probability that a note sounds and that a note starts, for 88 pitches,
and a contour with three bins in a semitone.
"""

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from reprise.lib.arrays import Float32Array, Float64Array, Int64Array, release_pages
from reprise.lib.errors import InputError, RepriseError
from reprise.lib.features.spectra import read_samples
from reprise.lib.files import sha256_of

SAMPLE_RATE = 22_050
"""Sample rate of the network's input in Hz."""

HOP = 256
WINDOW = 43_844
N_PITCHES = 88
LOWEST_PITCH = 21
"""MIDI pitch of the network's first note. The second bin of its contour is the centre of this pitch."""

_BINS_PER_PITCH = 3
_MARGIN = 15  # frames at either end of a window, for which the network sees too little
_KEPT = 142  # frames of a window that are used
_MODEL = Path("saved_models", "icassp_2022", "nmp.onnx")
_MODEL_SHA256 = "2c3c1d144bfa61ad236e92e169c13535c880469a12a047d4e73451f2c059a0ec"
_INSTALL = "run pip install --no-deps basic-pitch==0.4.0"
_INPUT = "serving_default_input_2:0"
_OUTPUTS = [f"StatefulPartitionedCall:{number}" for number in (1, 2, 0)]  # notes, onsets, contour

# fitted on songs of POP909 that two soundfonts played with 17 programs
_SOUNDING = 0.25  # probability from which a note sounds
_DECAYED = 0.7  # share of its largest probability below which a note has ended
_ONSET = 0.5  # probability from which a local maximum is an onset
_EVIDENCE = 1.0  # smallest sum of a note's onset probability and the rise of its probability
_RISE_FRAMES = 20
_RELEASE_FRAMES = 8  # a note ends when it has been weak for so many frames, and lasts longer than this
_REPEAT_FRAMES = 6  # shortest distance of two onsets of a pitch
_REACH = 3  # frames before and after a frame that decide whether a note starts in it


@dataclass(frozen=True, eq=False)
class Notes:
    """Notes in the order of their starts, (n,) each.

    Attributes
    ----------
    start_s, end_s
        Float64: start and end in s.
    pitch
        Int64: MIDI pitch.
    activation
        Float32: the largest probability that the note sounds, in its first 0.23 s.
    deviation
        Float32: mean deviation from the pitch in equal temperament, A = 440 Hz, in semitones.
    """

    start_s: Float64Array
    end_s: Float64Array
    pitch: Int64Array
    activation: Float32Array
    deviation: Float32Array

    def __len__(self) -> int:
        return len(self.pitch)

    def select(self, rows: Int64Array) -> "Notes":
        """Return the notes with the given indices."""
        return Notes(*(getattr(self, column.name)[rows] for column in fields(self)))


class NoteTranscriber:
    """The network of basic-pitch.

    Parameters
    ----------
    threads
        Number of threads that compute.

    Raises
    ------
    RepriseError
        The package basic-pitch or onnxruntime is not installed, or the network is not that of basic-pitch 0.4.0.
    """

    sample_rate = SAMPLE_RATE

    def __init__(self, threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise RepriseError(
                "onnxruntime, which computes networks, is not installed: run pip install onnxruntime"
            ) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        path = _find_model()
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def transcribe(self, samples: Float32Array) -> Notes:
        """Return the notes of a mono signal (samples,) at 22,050 Hz. NaN and infinite samples count as zeros.

        Memory does not grow with the length of the signal, except for the notes. A memory-mapped signal is released.
        """
        state = np.zeros(N_PITCHES, dtype=_STATE)
        found = [np.empty(0, dtype=_NOTE)]
        rows = [np.zeros((_REACH, width), dtype=np.float32) for width in (N_PITCHES, N_PITCHES, 3 * N_PITCHES)]
        first = -_REACH
        for window in self.compute_windows(samples):
            rows = [np.concatenate(pair) for pair in zip(rows, window, strict=True)]
            notes, onsets, contour = rows
            found.append(_follow_notes(notes, onsets, contour, first, state))
            first += len(notes) - 2 * _REACH
            rows = [array[len(array) - 2 * _REACH :] for array in rows]
        return _to_notes(np.concatenate(found))

    def compute_windows(self, samples: Float32Array) -> Iterator[tuple[Float32Array, Float32Array, Float32Array]]:
        """Yield probabilities of notes (frames, 88), of onsets (frames, 88) and the contour (frames, 264) in order.

        Frame i is centred on sample 256 i. Silent frames follow in the end, so that all notes end.
        """
        n_frames = len(samples) // HOP + 1
        for frame in range(0, n_frames if len(samples) else 0, _KEPT):
            start = (frame - _MARGIN) * HOP
            window = read_samples(samples, start, start + WINDOW)
            release_pages(samples)
            outputs = self._session.run(_OUTPUTS, {_INPUT: window[None, :, None]})
            kept = slice(_MARGIN, _MARGIN + min(_KEPT, n_frames - frame))
            notes, onsets, contour = (output[0, kept] for output in outputs)
            yield notes, onsets, contour
        silence = np.zeros((_REACH + _RELEASE_FRAMES * 3, N_PITCHES), dtype=np.float32)
        yield silence, silence, np.zeros((len(silence), _BINS_PER_PITCH * N_PITCHES), dtype=np.float32)


def _find_model() -> Path:
    """Return the path of the network in the installed package. The package is not imported."""
    spec = importlib.util.find_spec("basic_pitch")
    if spec is None or not spec.submodule_search_locations:
        raise RepriseError(f"basic-pitch, whose network reads notes, is not installed: {_INSTALL}")
    path = Path(spec.submodule_search_locations[0], _MODEL)
    try:
        known = sha256_of(path) == _MODEL_SHA256
    except InputError:
        known = False
    if not known:
        raise RepriseError(f"the network of basic-pitch is not that of version 0.4.0: {_INSTALL}")
    return path


_NOTE = np.dtype(
    [
        ("start", np.int64),
        ("end", np.int64),  # exclusive
        ("pitch", np.int64),
        ("activation", np.float64),
        ("weight", np.float64),  # sum of squares of the contour in the bins of the pitch
        ("moment", np.float64),  # sum of the same, multiplied by the distance of the bin from the centre
    ]
)
_STATE = np.dtype(
    [
        ("sounds", np.bool_),
        ("has_onset", np.bool_),
        ("start", np.int64),
        ("weak", np.int64),  # number of frames since the note became weak
        ("onset", np.float64),
        ("floor", np.float64),  # smallest probability before the start
        ("early_top", np.float64),
        ("top", np.float64),
        ("weight", np.float64),
        ("moment", np.float64),
        ("last", _NOTE),  # the note before, which becomes longer if no new note starts; its end is 0 if there is none
    ]
)
"""What is known of a pitch at a frame."""


@njit(cache=True, nogil=True)
def _follow_notes(
    notes: Float32Array, onsets: Float32Array, contour: Float32Array, first: int, state: NDArray[np.void]
) -> NDArray[np.void]:
    """Return the notes that are complete, and update the state of the pitches (88,).

    A candidate starts at an onset, or when its probability becomes large. It becomes a note if its onset probability
    and the rise of its probability are large together. If not, it belongs to the note that it follows directly.

    Parameters
    ----------
    notes, onsets, contour
        Consecutive frames of the network's outputs. The frames at either end are only context.
    first
        Number of the first frame.
    """
    out = np.empty(N_PITCHES * (len(notes) // _REPEAT_FRAMES + 2), dtype=_NOTE)
    n_out = 0
    for p in range(N_PITCHES):
        now = state[p]
        for t in range(_REACH, len(notes) - _REACH):
            frame, value = first + t, notes[t, p]
            is_onset = _is_peak(onsets, t, p)
            if now.sounds:
                now.top = max(now.top, value)
                is_weak = value < max(_SOUNDING, _DECAYED * now.top) and frame > now.start + _RELEASE_FRAMES
                now.weak = now.weak + 1 if is_weak else 0
                age = frame - now.start
                starts = is_onset and (age >= _REPEAT_FRAMES or not now.has_onset)
                is_late = starts and (now.has_onset or age > _REPEAT_FRAMES)
                if is_late or now.weak >= _RELEASE_FRAMES:
                    n_out = _end_candidate(now, frame - now.weak + (0 if is_late else 1), p, out, n_out)
            else:
                starts = is_onset or value >= _SOUNDING
            if starts:
                now.sounds, now.has_onset, now.start, now.weak = True, is_onset, frame, 0
                now.onset = max(onsets[t - 1, p], onsets[t, p], onsets[t + 1, p])
                now.floor = min(notes[t - 3, p], notes[t - 2, p], notes[t - 1, p], value)
                now.early_top, now.top, now.weight, now.moment = value, value, 0.0, 0.0
            if now.sounds:
                if frame - now.start < _RISE_FRAMES:
                    now.early_top = max(now.early_top, value)
                _add_contour(now, contour[t], 3 * p + 1)
            elif now.last.end and frame > now.last.end + _RELEASE_FRAMES:
                n_out = _emit(now, out, n_out)
    return out[:n_out].copy()  # a view would keep all rows


@njit(cache=True, nogil=True)
def _is_peak(onsets: Float32Array, t: int, p: int) -> bool:
    """Return whether the probability of an onset is large, and the first largest of five frames."""
    return bool(onsets[t, p] >= _ONSET and np.argmax(onsets[t - 2 : t + 3, p]) == 2)


@njit(cache=True, nogil=True)
def _add_contour(now: Any, contour: Float32Array, centre: int) -> None:
    """Add a frame of the contour (264,) to the sums of a pitch whose central bin is given."""
    for j in range(-2, 3):
        if 0 <= centre + j < len(contour):
            square = contour[centre + j] ** 2
            now.weight += square
            now.moment += square * j


@njit(cache=True, nogil=True)
def _end_candidate(now: Any, end: int, p: int, out: NDArray[np.void], n_out: int) -> int:
    """End the candidate of a pitch: it becomes the last note of the pitch, makes it longer, or is discarded."""
    now.sounds = False
    last = now.last
    if now.onset + now.early_top - now.floor >= _EVIDENCE:
        n_out = _emit(now, out, n_out)
        last.start, last.end, last.pitch, last.activation = now.start, end, p + LOWEST_PITCH, now.early_top
        last.weight, last.moment = now.weight, now.moment
    elif last.end and now.start <= last.end + 1:
        last.end = end
        last.weight += now.weight
        last.moment += now.moment
    return n_out


@njit(cache=True, nogil=True)
def _emit(now: Any, out: NDArray[np.void], n_out: int) -> int:
    """Append the last note of a pitch to ``out`` if it is long enough, and forget it."""
    last = now.last
    if last.end - last.start >= _RELEASE_FRAMES:
        out[n_out].start, out[n_out].end, out[n_out].pitch = last.start, last.end, last.pitch
        out[n_out].activation, out[n_out].weight, out[n_out].moment = last.activation, last.weight, last.moment
        n_out += 1
    last.start, last.end = 0, 0
    return n_out


def _to_notes(rows: NDArray[np.void]) -> Notes:
    rows = rows[np.lexsort((rows["pitch"], rows["start"]))]
    deviation = rows["moment"] / np.maximum(rows["weight"], 1e-9) / _BINS_PER_PITCH
    return Notes(
        rows["start"] * (HOP / SAMPLE_RATE),
        rows["end"] * (HOP / SAMPLE_RATE),
        rows["pitch"],
        rows["activation"].astype(np.float32),
        deviation.astype(np.float32),
    )
