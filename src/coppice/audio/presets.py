"""Front-end presets: every constant of every published front end, in one table.

==============  ======================================================================================================
dcase2021       DCASE 2021 Task 1A baseline (marmoi/dcase2021_task1a_baseline, features of DCASE-REPO/dcase_util)
dcase2022       DCASE 2022 and 2023 Task 1 baseline (marmoi/dcase2022_task1_baseline, its ``float32_to_int16`` included)
surrey2022      networks of Singh and Plumbley, DCASE 2022 (arXiv 2208.01555): as dcase2022 without its scaling
dcase2024       DCASE 2024 and 2025 Task 1 baseline (CPJKU/dcase2024_task1_baseline), features of torchaudio
panns32k        PANNs and E-PANNs at 32 kHz (qiuqiangkong/audioset_tagging_cnn, features of torchlibrosa)
panns16k        PANNs ``Cnn14_16k``
efficientat     EfficientAT in eval mode (fschmid56/EfficientAT, ``models/preprocess.py``), filterbank of Kaldi
logmel          no publication: a good start with every constant free
==============  ======================================================================================================
"""

from typing import Any

_EPS = 2.220446049250313e-16  # numpy.spacing(1), the eps of dcase_util

_NAMES = ("dcase2021", "dcase2022", "surrey2022", "dcase2024", "panns32k", "panns16k", "efficientat", "logmel")
# fmt: off
_TABLE: dict[str, tuple[Any, ...]] = {
    #                   dcase2021  dcase2022     surrey2022  dcase2024    panns32k   panns16k   efficientat  logmel
    "sample_rate":     (44100,     44100,        44100,      32000,       32000,     16000,     32000,       32000),
    "resampler":       ("soxr_hq", "soxr_hq",    "soxr_hq",  "sinc_hann", "soxr_hq", "soxr_hq", "soxr_hq",   "soxr_hq"),
    "waveform_offset": (_EPS,      _EPS,         _EPS,       0.0,         0.0,       0.0,       0.0,         0.0),
    "preemphasis":     (0.0,       0.0,          0.0,        0.0,         0.0,       0.0,       0.97,        0.0),
    "n_fft":           (2048,      2048,         2048,       4096,        1024,      512,       1024,        2048),
    "win_length":      (1764,      1764,         1764,       3072,        1024,      512,       800,         1280),
    "hop_length":      (882,       882,          882,        500,         320,       160,       320,         640),
    "window":          ("hamming", "hamming",    "hamming",  "hann",      "hann",    "hann",    "hann",      "hann"),
    "window_periodic": (True,      True,         True,       True,        True,      True,      False,       True),
    "pad_mode":        ("reflect", "reflect",    "reflect",  "reflect",   "reflect", "reflect", "reflect",   "reflect"),
    "drop_last_frame": (True,      False,        False,      False,       False,     False,     False,       True),
    "power":           (1.0,       1.0,          1.0,        2.0,         2.0,       2.0,       2.0,         2.0),
    "n_mels":          (40,        40,           40,         256,         64,        64,        128,         64),
    "fmin_hz":         (0.0,       0.0,          0.0,        0.0,         50.0,      50.0,      0.0,         50.0),
    "fmax_hz":         (22050.0,   22050.0,      22050.0,    16000.0,     14000.0,   8000.0,    15000.0,     16000.0),
    "mel_scale":       ("slaney",  "slaney",     "slaney",   "htk",       "slaney",  "slaney",  "kaldi",     "slaney"),
    "mel_norm":        ("slaney",  "slaney",     "slaney",   None,        "slaney",  "slaney",  None,        "slaney"),
    "log":             ("natural", "natural",    "natural",  "natural",   "decibel", "decibel", "natural",   "natural"),
    "log_offset":      (_EPS,      _EPS,         _EPS,       1e-5,        0.0,       0.0,       1e-5,        1e-10),
    "log_floor":       (0.0,       0.0,          0.0,        0.0,         1e-10,     1e-10,     0.0,         0.0),
    "log_shift":       (0.0,       0.0,          0.0,        0.0,         0.0,       0.0,       4.5,         0.0),
    "log_divisor":     (1.0,       1.0,          1.0,        1.0,         1.0,       1.0,       5.0,         1.0),
    "clip_scaling":    (None,      "peak_int16", None,       None,        None,      None,      None,        None),
    "duration_s":      (10.0,      1.0,          1.0,        1.0,         10.0,      10.0,      10.0,        10.0),
    "pad":             ("zeros",   "zeros",      "zeros",    "zeros",     "zeros",   "zeros",   "zeros",     "zeros"),
}
# fmt: on
PRESETS: dict[str, dict[str, Any]] = {
    name: {constant: row[column] for constant, row in _TABLE.items()} for column, name in enumerate(_NAMES)
}

# What a published preset leaves to the user: how long a clip is and what follows a short one. Neither changes a frame.
_ALWAYS_FREE = frozenset({"duration_s", "pad"})
FREE: dict[str, frozenset[str]] = {name: _ALWAYS_FREE for name in _NAMES} | {"logmel": frozenset(_TABLE)}

# Networks published for these take the log-mel as it is; those for the others subtract and divide by what was measured
# on their training clips.
TAKEN_AS_IS = frozenset({"dcase2022", "surrey2022", "dcase2024", "panns32k", "panns16k", "efficientat"})
