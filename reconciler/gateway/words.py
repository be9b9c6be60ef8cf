"""The plan's words about a model, for somebody who may not know of every other model. Pure."""

import re
from collections.abc import Callable, Container

_WORD = re.compile(r"[^\s,;:()'\"]+")


def fit(why: str, names: Container[str], shows: Callable[[str], object]) -> str:
    """`why`, or nothing where it names a model that is not shown. `names`: of all models; `shows`: tells it of one."""
    for word in _WORD.findall(why):
        for name in (word, word.rstrip("."), word.partition("/")[0]):  # a name, one that ends a sentence, an instance
            if name in names and not shows(name):
                return ""
    return why
