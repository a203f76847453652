"""No library that works for mmr reports home: each one's own switch, set before it is first imported.

    ORT_DISABLE_TELEMETRY      onnxruntime: an identifier and a queue of events below ~/.cache/Microsoft, sent from time
                               to time. It is read once, when its library is loaded.
    HF_HUB_DISABLE_TELEMETRY   huggingface_hub and hf_xet: what a download says of this machine beside what it asks for
    HF_UPDATE_DOWNLOAD_COUNTS  datasets: a request for each one loaded, to count it

Neither torch, timm, open_clip, pyarrow, matplotlib nor TensorBoard has anything of the kind.
"""

import os
from collections.abc import MutableMapping

SWITCHES = {"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0"}


def decline(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the switches that nobody has set: what a person said of one of these libraries stands."""
    for name, value in SWITCHES.items():
        environment.setdefault(name, value)
