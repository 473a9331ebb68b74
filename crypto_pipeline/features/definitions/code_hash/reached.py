"""Which definitions and members of classes code reaches, in the order in which they are to be written down."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from crypto_pipeline.features.definitions.code_hash.names import Definition


class Reached:
    """Definitions by number, and members of classes, which are reached once their name is looked up somewhere."""

    def __init__(self) -> None:
        self.numbers: dict[Definition, int] = {}
        #: names that are looked up while the program runs
        self.looked_up: set[str] = set()
        self._to_write: deque[Callable[[], None]] = deque()
        #: members of reached classes whose name is looked up nowhere so far
        self._members: dict[str, list[Callable[[], None]]] = {}
        self._enum_members: dict[Definition, list[str]] = {}
        self._used_whole: set[Definition] = set()

    def run(self) -> None:
        """Write everything that is reached, until nothing new is."""
        while self._to_write:
            self._to_write.popleft()()

    def number(self, one: Definition, write: Callable[[Definition], None]) -> int:
        """The number of a definition; it is written once, by ``write``."""
        if one not in self.numbers:
            self.numbers[one] = len(self.numbers)
            self._to_write.append(partial(write, one))
        return self.numbers[one]

    def look_up(self, *names: str) -> None:
        """Code asks some value for attributes of these names: every member of such a name is reached."""
        for name in names:
            if name not in self.looked_up:
                self.looked_up.add(name)
                self._to_write.extend(self._members.pop(name, ()))

    def use_whole(self, one: Definition) -> None:
        """Code uses a class as a value: of an Enum it may ask for every member."""
        if one not in self._used_whole:
            self._used_whole.add(one)
            self.look_up(*self._enum_members.get(one, ()))

    def add_member(
        self, owner: Definition | None, name: str, write: Callable[[], None], *, at_once: bool, of_enum: bool
    ) -> None:
        """A member of a reached class. It is written ``at_once``, or when its name is looked up.

        ``owner`` is None for a class inside of a function: all of it is written at once.
        """
        if of_enum and owner is not None:
            self._enum_members.setdefault(owner, []).append(name)
            at_once |= owner in self._used_whole
        if at_once or owner is None or name in self.looked_up:
            self._to_write.append(write)
        else:
            self._members.setdefault(name, []).append(write)
