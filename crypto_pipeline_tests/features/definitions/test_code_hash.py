"""The hash of code: the same wherever the code stands and whatever its names are, another for other numbers."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto_pipeline.features.definitions.code_hash import Definition, code_hash

Sources = Mapping[str, str]

CALC = '''
"""What is computed."""
import logging
import math
from functools import cached_property, lru_cache, partial
from enum import IntEnum, StrEnum

import numpy as np

from pkg import tools
from pkg.tools import WINDOW, mean as average
from pkg.series import Series

log = logging.getLogger(__name__)
LOW, HIGH = 1, 7
TABLE = {"a": 1}
TABLE["b"] = 2


class Kind(StrEnum):
    FAST = "fast"
    SLOW = "slow"
    OTHER = "other"

    @property
    def size(self) -> int:
        return {Kind.FAST: 3, Kind.SLOW: 30}[self]


@lru_cache(maxsize=3)
@partial(print)
def compute(x: np.ndarray, n: int = 3, *, kind: Kind = Kind.FAST) -> float:
    """Compute it."""
    if n > LOW and not x[1:-1]:  # why
        raise ValueError(f"{n} is too much: give less")
    assert n, "n is 0"
    log.info("computing %s", n)
    total: float = 0.0
    for value in (other - n for other in x if other):
        total += tools.scaled(value, by=2.5) / average(x, WINDOW)
    first, *rest = sorted(x, key=lambda a: -a)
    try:
        series = Series(x)
        total -= series.spread(n) ** 2 + np.log(len(rest) + kind.size) + TABLE["b"]
    except ZeroDivisionError as error:
        return error.args[0]
    return total if first < 2 else odd(n) + math.inf


def odd(n):
    return n and even(n - 1)


def even(n):
    return not n or odd(n - 1)
'''
TOOLS = '''
WINDOW = 5
UNUSED = 9

def mean(values, count):
    """Mean."""
    return sum(values) / count

def scaled(value, by):
    return value * by

def unused(x):
    return x + UNUSED
'''
SERIES = '''
from functools import cached_property
from pkg import tools

class Series:
    """Numbers in a row."""

    def __init__(self, x):
        self.x = x

    @cached_property
    def top(self):
        """The highest."""
        return max(self.x)

    def spread(self, n):
        import math
        return math.floor(self.top - min(self.x) * n)

    def never(self):
        return tools.unused(self.x)
'''
BASE = {"pkg": "", "pkg.calc": CALC, "pkg.tools": TOOLS, "pkg.series": SERIES}


def hashed(sources: Sources, *entries: str) -> str:
    names = [entry.rpartition(".") for entry in entries or ("pkg.calc.compute",)]
    return code_hash("pkg", sources.get, [Definition(module, name) for module, _, name in names])


def edited(*edits: tuple[str, str, str]) -> dict[str, str]:
    """The package with ``old`` replaced by ``new`` in some modules; ``old`` must be there."""
    sources = dict(BASE)
    for module, old, new in edits:
        assert old in sources[module], old
        sources[module] = sources[module].replace(old, new)
    return sources


def renamed(module: str, *pairs: tuple[str, str]) -> dict[str, str]:
    sources = dict(BASE)
    for old, new in pairs:
        assert re.search(rf"\b{old}\b", sources[module]), old
        sources[module] = re.sub(rf"\b{old}\b", new, sources[module])
    return sources


def moved() -> dict[str, str]:
    """``scaled`` stands in another module, and is imported from there."""
    function = "def scaled(value, by):\n    return value * by\n"
    sources = edited(
        ("pkg.tools", function, ""),
        ("pkg.calc", "from pkg import tools\n", "from pkg import tools\nimport pkg.deep.place\n"),
        ("pkg.calc", "tools.scaled", "pkg.deep.place.scaled"),
    )
    return sources | {"pkg.deep": "", "pkg.deep.place": function}


def module_renamed() -> dict[str, str]:
    sources = {name: text.replace("pkg.tools", "pkg.renamed") for name, text in BASE.items()}
    sources = {name: text.replace("from pkg import tools", "from pkg import renamed as tools")
               for name, text in sources.items()}  # fmt: skip
    sources["pkg.renamed"] = sources.pop("pkg.tools")
    return sources


SAME: dict[str, Sources] = {
    "moved to another module": moved(),
    "module renamed": module_renamed(),
    "alias renamed": renamed("pkg.calc", ("average", "arithmetic_mean"), ("np", "numerical")),
    "imported by its own name": edited(
        ("pkg.calc", "import WINDOW, mean as average", "import WINDOW, mean"), ("pkg.calc", "average(", "mean(")
    ),
    "imported from a library another way": edited(
        ("pkg.calc", "import numpy as np", "import numpy as np\nfrom numpy import log as ln"),
        ("pkg.calc", "np.log(", "ln("),
    ),
    "imported in the function": edited(
        ("pkg.calc", "    total: float", "    from pkg.tools import scaled as resized\n    total: float"),
        ("pkg.calc", "tools.scaled", "resized"),
    ),
    "re-exported": edited(("pkg", "", "from pkg.series import Series\n"), ("pkg.calc", "from pkg.series", "from pkg")),
    "imported twice": edited(("pkg.calc", "from pkg import tools\n", "from pkg import tools\nfrom pkg import tools\n")),
    "function renamed": renamed("pkg.calc", ("odd", "not_even"), ("even", "e")),
    "constant renamed": renamed("pkg.calc", ("LOW", "LOWEST")),
    "argument renamed": edited(
        ("pkg.tools", "value, by", "number, factor"),
        ("pkg.tools", "value * by", "number * factor"),
        ("pkg.calc", "by=2.5", "factor=2.5"),
    ),
    "local variables renamed": renamed(
        "pkg.calc", ("total", "amount"), ("value", "one"), ("error", "e"), ("rest", "r")
    ),
    "class renamed": edited(
        ("pkg.series", "class Series", "class Row"), ("pkg.calc", "import Series", "import Row as Series")
    ),
    "annotations": edited(
        ("pkg.calc", ": np.ndarray", ""),
        ("pkg.calc", "total: float = ", "total = "),
        ("pkg.calc", "-> int", "-> float"),
    ),
    "docstrings and comments": edited(
        ("pkg.calc", "Compute it.", "Another text.\n\n    More."), ("pkg.calc", "  # why", "")
    ),
    "layout": edited(("pkg.tools", "sum(values) / count", "(\n        sum(values)\n        / (count)\n    )")),
    "messages": edited(
        ("pkg.calc", "is too much: give less", "is out of range"),
        ("pkg.calc", '"n is 0"', '"no n"'),
        ("pkg.calc", "computing %s", "now %s"),
    ),
    "order of decorators": edited(
        ("pkg.calc", "@lru_cache(maxsize=3)\n@partial(print)", "@partial(print)\n@lru_cache(maxsize=3)")
    ),
    "order of definitions": edited(
        ("pkg.tools", "WINDOW = 5\nUNUSED = 9\n", ""),
        ("pkg.tools", "return x + UNUSED", "return x + UNUSED\n\nUNUSED = 9\nWINDOW = 5"),
    ),
    "what is not reached": edited(
        ("pkg.tools", "UNUSED = 9", "UNUSED = 10"),
        ("pkg.series", "unused(self.x)", "unused(2)"),
        ("pkg.calc", '    OTHER = "other"\n', ""),
        ("pkg.calc", "LOW, HIGH = 1, 7", "LOW, HIGH = 1, 8"),
    ),
}

OTHER: dict[str, Sources] = {
    "constant": edited(("pkg.tools", "WINDOW = 5", "WINDOW = 6")),
    "type of a constant": edited(("pkg.tools", "WINDOW = 5", "WINDOW = 5.0")),
    "constant in a tuple": edited(("pkg.calc", "LOW, HIGH = 1, 7", "LOW, HIGH = 2, 7")),
    "constant changed in place": edited(("pkg.calc", 'TABLE["b"] = 2', 'TABLE["b"] = 3')),
    "default": edited(("pkg.calc", "n: int = 3", "n: int = 4")),
    "operator": edited(("pkg.tools", "value * by", "value + by")),
    "comparison": edited(("pkg.calc", "first < 2", "first <= 2")),
    "slice": edited(("pkg.calc", "x[1:-1]", "x[1::-1]")),
    "order of arguments": edited(("pkg.tools", "def scaled(value, by)", "def scaled(by, value)")),
    "order of operands": edited(("pkg.tools", "sum(values) / count", "count / sum(values)")),
    "values of arguments": edited(("pkg.calc", "average(x, WINDOW)", "average(WINDOW, x)")),
    "keyword": edited(
        ("pkg.tools", "def scaled(value, by)", "def scaled(value, by=1, more=1)"), ("pkg.calc", "by=2.5", "more=2.5")
    ),
    "helper": edited(("pkg.tools", "return sum(values) / count", "return sum(values) / (count - 1)")),
    "which helper": edited(("pkg.calc", "tools.scaled(value, by=2.5)", "tools.mean(value, count=2.5)")),
    "method": edited(("pkg.series", "self.top - min", "self.top + min")),
    "property": edited(("pkg.series", "max(self.x)", "min(self.x)")),
    "which method": edited(("pkg.calc", "series.spread(n)", "series.top")),
    "library function": edited(("pkg.calc", "np.log(", "np.log10(")),
    "library import": edited(("pkg.calc", "import numpy as np", "import math as np")),
    "import in a function": edited(("pkg.series", "import math", "import numpy as math")),
    "member of an enum": edited(("pkg.calc", 'FAST = "fast"', 'FAST = "quick"')),
    "lambda": edited(("pkg.calc", "lambda a: -a", "lambda a: a")),
    "comprehension": edited(("pkg.calc", "if other)", "if not other)")),
    "which local variable": edited(("pkg.calc", "return total if", "return first if")),
    "handled error": edited(("pkg.calc", "except ZeroDivisionError", "except ValueError")),
    "recursion": edited(("pkg.calc", "return not n or odd(n - 1)", "return not n or even(n - 1)")),
    "decorator": edited(("pkg.calc", "@lru_cache(maxsize=3)", "@lru_cache(maxsize=4)")),
    "statement": edited(("pkg.calc", "total -= series", "total += series")),
}


@pytest.mark.parametrize("sources", SAME.values(), ids=SAME)
def test_place_and_names_do_not_count(sources: Sources) -> None:
    assert hashed(sources) == hashed(BASE)


@pytest.mark.parametrize("sources", OTHER.values(), ids=OTHER)
def test_what_is_computed_counts(sources: Sources) -> None:
    assert hashed(sources) != hashed(BASE)


def test_the_same_on_every_version_of_python() -> None:
    # Written down once: what another version finds must be this.
    assert hashed(BASE) == "9b1079e6d816e43d21d3839a1fb27d29113d2bf73b326204f49bac10e3a8668e"


def test_entries_count() -> None:
    assert hashed(BASE, "pkg.calc.compute", "pkg.tools.unused") != hashed(BASE)
    assert hashed(BASE, "pkg.calc.odd") != hashed(BASE, "pkg.calc.even")


def test_a_slice_is_no_attribute() -> None:
    """Fields of the syntax tree and attributes of values never look alike."""
    one, two = ({"pkg": f"def f(g, x, y):\n    return g(x[{text}])\n"} for text in (":], y.lower", "y:"))
    two["pkg"] = "def f(g, x, y):\n    return g(x[y:])\n"
    one["pkg"] = "def f(g, x, y):\n    return g(x[:], y.lower)\n"
    assert hashed(one, "pkg.f") != hashed(two, "pkg.f")


def test_arguments_that_an_unknown_function_is_given_by_name() -> None:
    """``how`` may be any function: a keyword for it reaches the argument of that name, so the name counts."""
    code = "def run(how):\n    return how(a=1, b=2)\ndef f(a, b):\n    return a - b\ndef main():\n    return run(f)\n"
    other = code.replace("f(a, b)", "f(b, a)").replace("a - b", "b - a")
    assert hashed({"pkg": code}, "pkg.main") != hashed({"pkg": other}, "pkg.main")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("from pkg.gone import g\ndef f():\n    return g()\n", "pkg defines no 'g'"),
        ("def f():\n    return g()\n", "pkg defines no 'g'"),
        ("from . import g\ndef f():\n    return g()\n", "relative import"),
        ("import pkg\ndef f():\n    return list(pkg)\n", "the module pkg is passed on"),
    ],
)
def test_what_cannot_be_told_from_the_code_is_an_error(code: str, text: str) -> None:
    with pytest.raises(LookupError, match=re.escape(text)):
        hashed({"pkg": code}, "pkg.f")


def _module_function(x: int, n: int) -> int:
    return x + n


def test_entries_of_a_table_count_and_not_their_order() -> None:
    name = __name__.partition(".")[0]
    code = "TABLE = [1]\ndef main(x):\n    return [f(x) for f in TABLE]\n"
    own = "def _module_function(x, n):\n    return x + n\n"

    def with_table(*entries: tuple[str, Callable[..., Any] | None]) -> str:
        sources = {f"{name}.code": code, __name__: own}
        return code_hash(
            name, sources.get, [Definition(f"{name}.code", "main")],
            lambda one: entries if one.name == "TABLE" else None,
        )  # fmt: skip

    two, three = partial(_module_function, n=2), partial(_module_function, n=3)
    assert with_table(("a", two), ("b", three)) == with_table(("b", three), ("a", two))
    assert with_table(("a", two)) not in {with_table(("a", three)), with_table(("b", two)), with_table(("a", None))}
    with pytest.raises(TypeError, match=r"a: .* is not a function at the top of a module"):
        with_table(("a", lambda x: x))
    with pytest.raises(TypeError, match="no plain value"):
        with_table(("a", partial(_module_function, n=[])))


# Programs that hypothesis makes: functions that call each other in any way, written with any names in any modules.


@dataclass(frozen=True)
class Function:
    arguments: int
    #: how its value is made: text with {0}, {1} … for arguments and calls of (function, values of its arguments)
    body: Any


def expressions(functions: Sequence[int]) -> st.SearchStrategy[Any]:
    leaf = st.one_of(st.integers(0, 9), st.tuples(st.just("argument"), st.integers(0, 3)))

    def more(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        call = st.integers(0, len(functions) - 1).flatmap(
            lambda at: st.tuples(st.just("call"), st.just(at), st.tuples(*[inner] * functions[at]))
        )
        return st.one_of(st.tuples(st.sampled_from("+-*"), inner, inner), call)

    return st.recursive(leaf, more, max_leaves=6)


@st.composite
def programs(draw: st.DrawFn) -> list[Function]:
    arguments = draw(st.lists(st.integers(1, 3), min_size=1, max_size=5))
    return [Function(count, draw(expressions(arguments))) for count in arguments]


def written(program: Sequence[Function], seed: int) -> tuple[dict[str, str], str]:
    """The program as modules, with names, places and ways of importing that ``seed`` decides; and its entry."""
    rng = random.Random(seed)
    words = rng.sample([f"{a}{b}_" for a in "abcdefgh" for b in "stuvwxyz"], 64)
    modules = [f"pkg.{words.pop()}" for _ in range(rng.randint(1, 3))]
    place = [rng.choice(modules) for _ in program]
    names = [words.pop() for _ in program]
    texts = dict.fromkeys(modules, "")
    order = list(range(len(program)))
    rng.shuffle(order)
    for at in order:
        arguments = rng.sample(words, program[at].arguments)
        imports: dict[str, None] = {}

        def text(body: Any, at: int = at, arguments: list[str] = arguments, imports: dict[str, None] = imports) -> str:
            if isinstance(body, int):
                return str(body)
            if body[0] == "argument":
                return arguments[body[1] % len(arguments)]
            if body[0] != "call":
                return f"({text(body[1])} {body[0]} {text(body[2])})"
            _, callee, values = body
            name = names[callee]
            if place[callee] != place[at]:
                alias = f"f_{callee}_{rng.randint(0, 3)}"
                if rng.random() < 0.5:
                    imports[f"from {place[callee]} import {name} as {alias}\n"] = None
                    name = alias
                else:
                    imports[f"import {place[callee]} as m{alias}\n"] = None
                    name = f"m{alias}.{name}"
            return f"{name}({', '.join(text(value) for value in values)})"

        local = f"{words[0]}_l"
        made = text(program[at].body)
        code = f"def {names[at]}({', '.join(arguments)}):\n    {local} = {made}\n    return {local}\n"
        texts[place[at]] = "".join(imports) + texts[place[at]] + code
    return {"pkg": "", **texts}, f"{place[0]}.{names[0]}"


def reached(program: Sequence[Function], at: int, found: set[int]) -> set[int]:
    def callees(body: Any) -> set[int]:
        if isinstance(body, int) or body[0] == "argument":
            return set()
        if body[0] == "call":
            return {body[1]}.union(*map(callees, body[2]))
        return callees(body[1]) | callees(body[2])

    if at not in found:
        found.add(at)
        for callee in callees(program[at].body):
            reached(program, callee, found)
    return found


@settings(deadline=None)
@given(programs(), st.integers(0, 1000), st.integers(0, 1000))
def test_any_program_may_be_written_another_way(program: list[Function], seed: int, other: int) -> None:
    sources, entry = written(program, seed)
    again, same_entry = written(program, other)
    assert hashed(sources, entry) == hashed(again, same_entry)


@settings(deadline=None)
@given(programs(), st.integers(0, 1000), st.data())
def test_any_program_that_computes_otherwise_has_another_hash(
    program: list[Function], seed: int, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(program) - 1))
    changed = list(program)
    changed[at] = replace(program[at], body=("-", program[at].body, 7))
    one, two = hashed(*written(program, seed)), hashed(*written(changed, seed))
    assert (one != two) == (at in reached(program, 0, set()))
