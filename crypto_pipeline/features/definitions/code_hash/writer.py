"""Code as a list of words that say what it computes: names of definitions and of local variables are numbers."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from crypto_pipeline.features.definitions.code_hash.names import (
    Comprehension,
    Definition,
    Function,
    Library,
    Member,
    Module,
    Project,
    Scope,
    Target,
    argument_names,
    bound_by,
    member_name,
    place,
)
from crypto_pipeline.features.definitions.code_hash.reached import Reached

#: For a constant that is a table of functions: a label and the function of each entry. None: it is no such constant.
Table = Callable[[Definition], Sequence[tuple[str, Callable[..., Any] | None]] | None]

_SKIPPED = (ast.Import, ast.ImportFrom, ast.Pass, ast.Global, ast.Nonlocal)
_LEFT_OUT = frozenset(("ctx", "kind", "type_comment", "type_params", "annotation", "returns"))
#: Bases that call no method of a class by its name, other than special ones.
_PLAIN_BASES = frozenset(("builtins.object", "abc.ABC", "typing.NamedTuple", "typing.Protocol", "typing.Generic"))
_ENUMS = frozenset(f"enum.{name}" for name in ("Enum", "IntEnum", "StrEnum", "Flag", "IntFlag"))


class Writer:
    """Writes down definitions and everything of the project that they reach."""

    def __init__(self, project: Project, table: Table) -> None:
        self._project, self._table = project, table
        self._words: list[str] = []
        self._reached = Reached()
        #: Names of arguments of every function, and keywords of calls whose function is not known from the code.
        self._arguments: list[list[str]] = []
        self._keywords: set[str] = set()
        self._unpacks = False

    def words(self, entries: Iterable[Definition]) -> list[str]:
        """Everything that ``entries`` reach, as words."""
        for entry in entries:
            self._refer(self._project.meaning(entry))
        self._reached.run()
        # A keyword whose function is not known may be any argument of that name: there the name counts.
        keywords = self._keywords | (self._reached.looked_up if self._unpacks else set())
        for function, names in enumerate(self._arguments):
            self._words += [f"{function}:{at}={name}" for at, name in enumerate(names) if name in keywords]
        return self._words

    def _refer(self, target: Target, *, whole: bool = True) -> None:
        """Write a reference. ``whole``: the class itself is used, not only one of its attributes."""
        if isinstance(target, Library):
            self._words.append(target.name)
        elif isinstance(target, Module):
            raise LookupError(f"the module {target.name} is passed on as a value: what of it is used cannot be told")
        else:
            self._words.append(f"#{self._reached.number(target, self._define)}")
            if whole:
                self._reached.use_whole(target)

    def _define(self, one: Definition) -> None:
        self._words.append(f"define {self._reached.numbers[one]}")
        if (entries := self._table(one)) is not None:
            self._words.append("table")
            for label, function in sorted(entries, key=lambda entry: entry[0]):
                self._words.append(repr(label))
                self._callable(label, function)
            return
        scope = Scope(one.module)
        for binding in (self._project.names(one.module) or {})[one.name]:
            match binding:
                case ast.FunctionDef() | ast.AsyncFunctionDef():
                    self._function(binding, scope)
                case ast.ClassDef():
                    self._class(binding, scope, one)
                case (
                    ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value)
                ):
                    self._constant(one.name, target, value, scope)
                case ast.stmt():
                    self._write(binding, scope)
                case _:
                    self._refer(self._project.meaning(binding))

    def _constant(self, name: str, target: ast.expr, value: ast.expr, scope: Scope) -> None:
        # `A, B = 1, 2`: of B only 2 counts
        if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple) and len(target.elts) == len(value.elts):
            chosen = [v for t, v in zip(target.elts, value.elts, strict=True) if getattr(t, "id", None) == name]
            value = chosen[-1] if chosen else value
        elif not isinstance(target, ast.Name):
            self._write(target, scope)
        self._write(value, scope)

    def _callable(self, label: str, function: Any) -> Target | None:
        """A function of the project, or a partial of one, as it is at run time."""
        if function is None:
            self._words.append("None")
            return None
        if isinstance(function, partial):
            names = self._project.argument_names(self._callable(label, function.func)) or []
            values = [*enumerate(function.args), *((place(k, names), v) for k, v in function.keywords.items())]
            for at, value in sorted(values, key=lambda pair: str(pair[0])):
                if not isinstance(value, int | float | str | bool | None):
                    raise TypeError(f"{label}: {value!r} in a partial is no plain value")
                self._words.append(f"{at}={type(value).__name__} {value!r}")
            return None
        module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
        if not self._project.contains(module) or not name.isidentifier():
            raise TypeError(f"{label}: {function!r} is not a function at the top of a module of the project")
        target = self._project.target(module, name)
        self._refer(target)
        return target

    def _class(self, node: ast.ClassDef, scope: Scope, one: Definition | None) -> None:
        """A class. Of a top-level one (``one``) methods wait until their name is looked up, of others all count."""
        self._words.append("class")
        self._decorators(node, scope)
        plain = [base.value if isinstance(base, ast.Subscript) else base for base in node.bases]
        bases = [self._resolve(base, scope) for base in plain]
        for part in (*node.bases, *node.keywords):
            self._write(part, scope)
        inside = Scope(scope.module, scope, is_class=True)
        inside.names.update({name: Member(name) for name in bound_by(node.body).names})
        libraries = {base.name for base in bases if isinstance(base, Library)}
        enum = bool(libraries & _ENUMS)
        calls_back = None in bases or bool(libraries - _PLAIN_BASES - _ENUMS)
        for statement in node.body:
            name = member_name(statement)
            is_method = isinstance(statement, Function)
            if is_method or (enum and name):
                at_once = calls_back or (name.startswith("_") and name.endswith("_"))
                write = partial(self._member, statement, inside, one)
                self._reached.add_member(one, name, write, at_once=at_once, of_enum=not is_method)
            elif name:
                self._words.append(f"field {name}")
                value = getattr(statement, "value", None)
                if value is not None:
                    self._write(value, inside)
            else:
                self._write(statement, inside)
        self._words.append("end")

    def _member(self, statement: ast.stmt, scope: Scope, owner: Definition | None) -> None:
        number = "" if owner is None else self._reached.numbers[owner]
        self._words.append(f"member {number} {member_name(statement)}")
        if isinstance(statement, Function):
            if owner is not None and any(getattr(one, "id", "") == "classmethod" for one in statement.decorator_list):
                self._reached.use_whole(owner)
            self._function(statement, scope)
        elif isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            self._write(statement.value, scope)

    def _function(self, node: Function | ast.Lambda, scope: Scope) -> None:
        self._words.append(type(node).__name__)
        if not isinstance(node, ast.Lambda):
            self._decorators(node, scope)
        arguments = node.args
        for default in (*arguments.defaults, *(one for one in arguments.kw_defaults if one)):
            self._write(default, scope)
        given = [bool(one) for one in arguments.kw_defaults]
        kinds = (len(arguments.posonlyargs), len(arguments.args), len(arguments.defaults), given,
                 bool(arguments.vararg), bool(arguments.kwarg))  # fmt: skip
        self._words.append(repr(kinds))
        names = argument_names(arguments)
        self._arguments.append(names)
        inside = Scope(scope.module, scope)
        rest = [one.arg for one in (arguments.vararg, arguments.kwarg) if one]
        body = [node.body] if isinstance(node, ast.Lambda) else node.body
        bound = bound_by(body)
        inside.bind(*bound.names, *names, *rest)
        for statement in bound.imports:
            inside.names.update(self._project.imported(scope.module, statement))
        for name in (*names, *rest):
            inside.find(name)
        for part in body:
            self._write(part, inside)
        self._words.append("end")

    def _decorators(self, node: Function | ast.ClassDef, scope: Scope) -> None:
        def label(decorator: ast.expr) -> str:
            target = self._resolve(decorator.func if isinstance(decorator, ast.Call) else decorator, scope)
            return target.name if isinstance(target, Library) else ""

        for decorator in sorted(node.decorator_list, key=label):
            self._words.append("@")
            self._write(decorator, scope)

    def _resolve(self, node: ast.expr, scope: Scope) -> Target | None:
        """What a name or a dotted name stands for; None for local variables and for attributes of values."""
        if isinstance(node, ast.Name):
            return self._meaning(node.id, scope)
        if isinstance(node, ast.Attribute):
            base = self._resolve(node.value, scope)
            return None if base is None else self._project.member(base, node.attr)
        return None

    def _meaning(self, name: str, scope: Scope) -> Target | None:
        bound = scope.find(name)
        if isinstance(bound, int | Member):
            return None
        return self._project.target(scope.module, name) if bound is None else self._project.meaning(bound)

    def _name(self, name: str, scope: Scope) -> None:
        bound, target = scope.find(name), self._meaning(name, scope)
        if target is not None:
            self._refer(target)
        elif isinstance(bound, Member):
            self._words.append(f"member {name}")
            self._reached.look_up(name)
        else:
            self._words.append(f"%{bound}")

    def _write(self, node: ast.AST, scope: Scope) -> None:
        match node:
            case ast.Name():
                self._name(node.id, scope)
            case ast.Constant():
                self._words.append(type(node.value).__name__)
                self._text(node.value)
            case ast.Attribute():
                self._attribute(node, scope)
            case ast.Call():
                self._call(node, scope)
            case ast.AnnAssign():
                if node.value is not None:
                    self._write(ast.Assign([node.target], node.value), scope)
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=value))) if self._project.is_logger(
                self._resolve(value, scope)
            ):
                pass
            case ast.Raise():
                self._words.append("Raise")
            case ast.Assert():
                self._words.append("Assert")
                self._write(node.test, scope)
            case ast.JoinedStr():
                self._formatted(node, scope)
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                self._comprehension(node, scope)
            case ast.Lambda():
                self._function(node, scope)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self._name(node.name, scope)
                self._function(node, scope)
            case ast.ClassDef():
                self._name(node.name, scope)
                self._class(node, scope, None)
            case ast.Expr(value=ast.Constant()):
                pass
            case _ if not isinstance(node, _SKIPPED):
                self._fields(node, scope)

    def _fields(self, node: ast.AST, scope: Scope) -> None:
        self._words.append(type(node).__name__)
        # Fields that are empty are left out, so those that only newer versions of Python know change nothing.
        for field in node._fields:
            value = getattr(node, field, None)
            if value is None or value == [] or field in _LEFT_OUT:
                continue
            self._words.append(f".{field}")
            if isinstance(value, ast.AST):
                self._write(value, scope)
            elif isinstance(value, list):
                for one in value:
                    if isinstance(one, ast.AST):
                        self._write(one, scope)
                    else:
                        self._text(one)
                self._words.append("]")
            elif field in ("name", "rest"):  # of `except … as name` and of patterns
                self._name(value, scope)
            else:
                self._words.append(repr(value))
        self._words.append(")")

    def _text(self, value: object) -> None:
        self._words.append(repr(value))
        if isinstance(value, str):
            self._reached.look_up(value)

    def _attribute(self, node: ast.Attribute, scope: Scope) -> None:
        target = self._resolve(node, scope)
        if target is not None:
            self._refer(target)
            return
        self._words.append("attribute " + node.attr)
        self._reached.look_up(node.attr)
        base = self._resolve(node.value, scope)
        if base is None:
            self._write(node.value, scope)
        else:
            self._refer(base, whole=False)

    def _call(self, node: ast.Call, scope: Scope) -> None:
        self._words.append("Call")
        self._write(node.func, scope)
        called = self._resolve(node.func, scope)
        names = self._project.argument_names(called)
        if called == Library("functools.partial") and node.args:
            names = self._project.argument_names(self._resolve(node.args[0], scope))
        for argument in node.args:
            self._write(argument, scope)
        for keyword in sorted(node.keywords, key=lambda one: place(one.arg or "", names or [])):
            self._words.append(place(keyword.arg or "**", names or []))
            self._unpacks |= keyword.arg is None
            if keyword.arg and keyword.arg not in (names or ()):
                self._keywords.add(keyword.arg)
            self._write(keyword.value, scope)
        self._words.append(")")

    def _formatted(self, node: ast.JoinedStr, scope: Scope) -> None:
        # Versions of Python differ in how they cut the text between the fields.
        text = ""
        self._words.append("f")
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += str(part.value)
                continue
            self._words.append(repr(text))
            self._write(part, scope)
            text = ""
        self._words.append(repr(text))

    def _comprehension(self, node: Comprehension, scope: Scope) -> None:
        self._words.append(type(node).__name__)
        inside = Scope(scope.module, scope)
        for generator in node.generators:
            inside.bind(*bound_by((generator.target,)).names)
        for at, generator in enumerate(node.generators):
            self._write(generator.iter, scope if at == 0 else inside)
            self._words.append("async" if generator.is_async else "for")
            for part in (generator.target, *generator.ifs):
                self._write(part, inside)
        for part in (node.key, node.value) if isinstance(node, ast.DictComp) else (node.elt,):
            self._write(part, inside)
        self._words.append("end")
