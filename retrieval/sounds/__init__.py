"""Sounds to what a tower sees: a few windows of a file, each a log-mel spectrogram (mel.py), drawn as a gray picture.

Files are decoded in a process of its own (images/guard.py), through soundfile (files.py) or PyAV (streams.py).
images/load.py is the door.
"""
