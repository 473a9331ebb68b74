"""What the names in Python code stand for, read from syntax trees alone: nothing is imported or run."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

#: The source of a module by its dotted name; None where there is no such module.
Source = Callable[[str], str | None]

Function = ast.FunctionDef | ast.AsyncFunctionDef
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp

_NO_BINDING = (ast.Constant, ast.Lambda, ast.Load, ast.Store)
_BUILTINS = frozenset(dir(builtins)) | {"__name__", "__file__", "__doc__", "__spec__", "__path__"}


@dataclass(frozen=True, slots=True)
class Library:
    """Something that is not of the project, by its dotted name: ``numpy.log``, ``builtins.len``."""

    name: str


@dataclass(frozen=True, slots=True)
class Module:
    """A module of the project."""

    name: str


@dataclass(frozen=True, slots=True)
class Definition:
    """A function, class or constant at the top of a module of the project."""

    module: str
    name: str


@dataclass(frozen=True, slots=True)
class Member:
    """A name that the body of a class binds, as other statements of that body see it."""

    name: str


Target = Library | Module | Definition
#: What binds a name at the top of a module: an import, or a statement.
Binding = Target | ast.stmt


class Project:
    """The modules of one package, each parsed when it is first needed."""

    def __init__(self, package: str, source: Source) -> None:
        self._package, self._source = package, source
        self._modules: dict[str, dict[str, list[Binding]] | None] = {}
        self._targets: dict[tuple[str, str], Target] = {}

    def names(self, module: str) -> dict[str, list[Binding]] | None:
        """What binds the names at the top of ``module``; None where there is no such module."""
        if module not in self._modules:
            source = self._source(module) if self.contains(module) else None
            self._modules[module] = None if source is None else self._bindings(module, ast.parse(source))
        return self._modules[module]

    def contains(self, module: str) -> bool:
        """Whether ``module`` is the package or lies in it."""
        return module == self._package or module.startswith(self._package + ".")

    def target(self, module: str, name: str) -> Target:
        """What ``name`` means to the code of ``module``, at the top of it; re-exports are followed.

        Raises LookupError where nothing defines it.
        """
        if (module, name) not in self._targets:
            target = self._find(module, name, ())
            if target is None and name in _BUILTINS:
                target = Library(f"builtins.{name}")
            if target is None:
                raise LookupError(f"{module} defines no {name!r}: what it means cannot be told from the code")
            self._targets[module, name] = target
        return self._targets[module, name]

    def meaning(self, one: Target) -> Target:
        """What an imported name stands for: a definition, or a module where a package defines none of that name.

        Raises LookupError where there is neither.
        """
        if not isinstance(one, Definition):
            return one
        target = self._find(one.module, one.name, ())
        if target is None:
            raise LookupError(f"{one.module} has no {one.name!r}: what it means cannot be told from the code")
        return target

    def member(self, target: Target, attribute: str) -> Target | None:
        """What ``attribute`` of a module or library is; None for one of a definition."""
        if isinstance(target, Library):
            return Library(f"{target.name}.{attribute}")
        return self.meaning(Definition(target.name, attribute)) if isinstance(target, Module) else None

    def argument_names(self, target: Target | None) -> list[str] | None:
        """Names of the arguments of a function of the project; None for anything else."""
        if isinstance(target, Definition):
            bindings = (self.names(target.module) or {}).get(target.name, [])
            if len(bindings) == 1 and isinstance(bindings[0], ast.FunctionDef):
                return argument_names(bindings[0].args)
        return None

    def is_logger(self, target: Target | None) -> bool:
        """Whether it is a constant that ``logging.getLogger`` gives."""
        if isinstance(target, Definition):
            match (self.names(target.module) or {}).get(target.name):
                case [ast.Assign(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="getLogger")))]:
                    return self.target(target.module, name) == Library("logging")
        return False

    def imported(self, module: str, node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Target]]:
        """Names that an import statement of ``module`` binds, and what they stand for.

        Raises LookupError for a relative import.
        """
        if isinstance(node, ast.Import):
            for alias in node.names:
                full = alias.name if alias.asname else alias.name.partition(".")[0]
                yield alias.asname or full, Module(full) if self.contains(full) else Library(full)
            return
        origin = node.module
        if node.level or origin is None:
            raise LookupError(f"{module}, line {node.lineno}: a relative import; write the package's name")
        own = self.contains(origin)
        for alias in node.names:
            target = Definition(origin, alias.name) if own else Library(f"{origin}.{alias.name}")
            yield alias.asname or alias.name, target

    def _find(self, module: str, name: str, passed: tuple[tuple[str, str], ...]) -> Target | None:
        if (module, name) in passed:
            raise LookupError(f"{name!r} of {module}: its imports go in a circle")
        bindings = (self.names(module) or {}).get(name, [])
        if len(bindings) == 1 and isinstance(bindings[0], Definition):
            return self._find(bindings[0].module, bindings[0].name, (*passed, (module, name)))
        if len(bindings) == 1 and not isinstance(bindings[0], ast.stmt):
            return bindings[0]
        if bindings:
            return Definition(module, name)
        return Module(f"{module}.{name}") if self.names(f"{module}.{name}") is not None else None

    def _bindings(self, module: str, tree: ast.Module) -> dict[str, list[Binding]]:
        bindings: dict[str, list[Binding]] = {}
        for statement in tree.body:
            # A compound statement counts whole for each of the names that it binds or changes.
            bound = bound_by((statement,))
            for node in bound.imports:
                for name, target in self.imported(module, node):
                    if target not in bindings.setdefault(name, []):  # imported twice is imported
                        bindings[name].append(target)
            for name in dict.fromkeys((*bound.names, *bound.changed)):
                bindings.setdefault(name, []).append(statement)
        return bindings


@dataclass(frozen=True, slots=True)
class Bound:
    """What statements do to the names of their scope."""

    #: bound, in order
    names: dict[str, None]
    #: changed in place: ``TABLE[key] = …``, ``LIST.append(…)``
    changed: dict[str, None]
    imports: list[ast.Import | ast.ImportFrom]


def bound_by(nodes: Iterable[ast.AST]) -> Bound:
    """What ``nodes`` bind, change and import in their own scope; nested functions and classes only bind their names."""
    bound = Bound({}, {}, [])
    outside: set[str] = set()
    waiting = [*nodes]
    waiting.reverse()
    while waiting:
        node = waiting.pop()
        kind = type(node)
        if kind in _NO_BINDING:
            continue
        if isinstance(node, Comprehension):
            # Of what it binds only `:=` is bound outside of it.
            waiting.extend(one.target for one in ast.walk(node) if isinstance(one, ast.NamedExpr))
            continue
        if not _note(node, bound, outside):
            continue
        for field in node._fields:
            value = getattr(node, field, None)
            if isinstance(value, ast.AST):
                waiting.append(value)
            elif isinstance(value, list):
                waiting.extend(one for one in reversed(value) if isinstance(one, ast.AST))
    for name in outside:
        bound.names.pop(name, None)
    return bound


def _note(node: ast.AST, bound: Bound, outside: set[str]) -> bool:
    """Note what one node binds; whether what is below it is to be looked at too."""
    match node:
        case ast.Name():
            if type(node.ctx) is not ast.Load:
                bound.names[node.id] = None
            return False
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            bound.names[node.name] = None
            return False
        case ast.Import() | ast.ImportFrom():
            bound.imports.append(node)
            return False
        case ast.Global() | ast.Nonlocal():
            outside.update(node.names)
        case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
            bound.names[name] = None
        case ast.MatchMapping(rest=str(name)):
            bound.names[name] = None
        case ast.Subscript(ctx=ast.Store() | ast.Del()) | ast.Attribute(ctx=ast.Store() | ast.Del()):
            _change(bound, node)
        case ast.Expr(value=ast.Call(func=ast.Attribute() as method)):
            _change(bound, method)
    return True


def _change(bound: Bound, place: ast.expr) -> None:
    while isinstance(place, ast.Attribute | ast.Subscript):
        place = place.value
    if isinstance(place, ast.Name):
        bound.changed[place.id] = None


class Scope:
    """The names of one function, class or comprehension: local ones have numbers, in the order in which they appear."""

    def __init__(self, module: str, parent: Scope | None = None, *, is_class: bool = False) -> None:
        self.module, self.parent, self.is_class = module, parent, is_class
        #: None: a local name that has no number yet
        self.names: dict[str, int | Target | Member | None] = {}
        self._last: list[int] = parent._last if parent else [0]

    def bind(self, *names: str) -> None:
        """Make ``names`` local."""
        self.names.update(dict.fromkeys(names))

    def find(self, name: str) -> int | Target | Member | None:
        """The number of a local name, what an imported one stands for, a member; None where no scope binds ``name``."""
        scope: Scope | None = self
        while scope is not None:
            # The body of a class is no scope for the functions in it.
            if name in scope.names and (scope is self or not scope.is_class):
                if scope.names[name] is None:
                    self._last[0] += 1
                    scope.names[name] = self._last[0]
                return scope.names[name]
            scope = scope.parent
        return None


def argument_names(arguments: ast.arguments) -> list[str]:
    """Names of arguments that a keyword can give, in order."""
    return [one.arg for one in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]


def place(keyword: str, names: Sequence[str]) -> str:
    """A keyword as the place of the argument that it names; as it is where ``names`` lacks it."""
    return f"={names.index(keyword)}" if keyword in names else f"{keyword}="


def member_name(statement: ast.stmt) -> str:
    """The name of a method or of an attribute that a statement of a class defines; empty for anything else."""
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
            return name
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
    return ""
