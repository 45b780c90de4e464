"""`import vlp.infer.auto`: transformers' AutoConfig and AutoModel then load the models of each method that offers it.

A method offers it by a file `auto.py` in its folder. Apart from the models, since importing transformers takes seconds.
"""

from __future__ import annotations

import importlib

from vlp.config.methods import names, offers, package_of

for _name in names():
    if offers(_name, "auto"):
        importlib.import_module(f"{package_of(_name)}.auto")
