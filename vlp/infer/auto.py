"""`import vlp.infer.auto`: transformers' AutoConfig and AutoModel then load the models of each method that offers it.

A method offers it by a file `auto.py` in its folder. Apart from the models, since importing transformers takes seconds.
"""

from __future__ import annotations

from vlp.config.methods import names, part_of

for _name in names():
    part_of(_name, "auto")
