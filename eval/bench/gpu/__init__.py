"""Every CUDA path in one command, on a machine that may have few of mmr's dependencies and no network.

    python -m eval.bench.gpu --out DIR           # DIR/results.json and DIR/report.md, in less than 8 minutes
    python -m eval.bench.gpu --out DIR --dry     # the same parts on the CPU, at tiny sizes: does all of it run?

It needs torch, timm, numpy, pyarrow, safetensors, tokenizers and Pillow. A part that needs more (`faiss`) is skipped
and says so. Each part (parts.py) has a process and a time of its own: its failure, or a crash of the device, stops no
other, and what it measured until then is kept. Figures come as they are measured, a JSON line each on stdout; both
files are whole after each part. The exit code is 0 if nothing failed, 5 if a part did.

It has not been run on a GPU yet: none was at hand.
"""
