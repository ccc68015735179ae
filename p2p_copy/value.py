"""Defines classes of values as `dataclasses` and `typing.NamedTuple` do, in a fraction of the time.

`@dataclass(frozen=True, slots=True)` compiles up to six methods for each class, and makes the class twice: 0.4 ms. One
small transfer needs sixty of them, which would be a tenth of its processor time. Here `__init__` alone is compiled,
when the class is first used, and all classes share the other methods. What works with a dataclass works with a value:
`dataclasses.replace` and `fields`, `copy`, `pickle`, `match`.

`typing.NamedTuple` compiles the annotation of each field, which takes as long as all else. This one does not.
"""

from __future__ import annotations

from collections import namedtuple
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Final, dataclass_transform

if TYPE_CHECKING:
    from dataclasses import Field
    from typing import Self

_REQUIRED: Final = object()
"""In place of the default of a field that has none."""

_NOT_OF_TUPLES: Final = {"__annotations__", "__annotate_func__", "__module__"}
"""What the body of a named tuple has and its class gets otherwise."""


@dataclass_transform(frozen_default=True)
class _Definition(type):
    """Makes a class with slots from annotations and defaults.

    Attributes:
        _defaults: the fields in the order of `__init__`, with their defaults.
        _types: their annotations.
        _keywords: those that `__init__` takes by name only.
        _hidden: those that `repr` leaves out.

    """

    _defaults: dict[str, object]
    _types: dict[str, object]
    _keywords: frozenset[str]
    _hidden: frozenset[str]

    def __new__(
        cls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        kw_only: bool = False,
        hidden: tuple[str, ...] = (),
    ) -> _Definition:
        """Make the class. With `kw_only` its own fields are given by name; `hidden` are not shown by `repr`."""
        own = _annotations_in(namespace)
        base: Any = bases[0] if bases else None
        defaults = dict(base._defaults) if base else {}
        defaults |= {each: namespace.pop(each, _REQUIRED) for each in own}
        namespace["_defaults"] = defaults
        namespace["_types"] = (base._types if base else {}) | own
        keywords = (base._keywords if base else frozenset()).union(own if kw_only else ())
        namespace["_keywords"] = keywords
        namespace["_hidden"] = (base._hidden if base else frozenset()).union(hidden)
        namespace["__slots__"] = tuple(own)
        namespace["__match_args__"] = tuple(each for each in defaults if each not in keywords)
        made = super().__new__(cls, name, bases, namespace)
        made.__init__ = _LateInit(made)  # type: ignore[misc]
        return made

    def _compiled_init(cls) -> Any:
        """Return an `__init__` that stores what it is given, and then calls `__post_init__` if there is one."""
        words = ["self"]
        for by_name in (False, True):
            named = [name for name in cls._defaults if (name in cls._keywords) is by_name]
            if by_name and named:
                words.append("*")
            words += [
                name if cls._defaults[name] is _REQUIRED else f"{name}=_defaults['{name}']" for name in named
            ]
        setter: object = cls.__setattr__
        is_frozen = setter is not object.__setattr__
        store = "_store(self, '{0}', {0})" if is_frozen else "self.{0} = {0}"
        lines = [store.format(name) for name in cls._defaults]
        if hasattr(cls, "__post_init__"):
            lines.append("self.__post_init__()")
        made: dict[str, Any] = {}
        names = {"_defaults": cls._defaults, "_store": object.__setattr__, "__name__": cls.__module__}
        text = f"def __init__({', '.join(words)}):\n " + "\n ".join(lines or ["pass"])
        exec(text, names, made)  # noqa: S102 - made of names in this program, as `dataclasses` does
        init = made["__init__"]
        init.__qualname__ = f"{cls.__qualname__}.__init__"
        init.__annotations__ = cls._types | {"return": None}
        return init


class _LateInit:
    """Compiles the `__init__` of a class on first access: a small transfer never uses half of its classes."""

    def __init__(self, cls: _Definition) -> None:
        self._cls = cls

    def __get__(self, value: object, owner: object) -> Any:
        init = self._cls._compiled_init()
        self._cls.__init__ = init  # type: ignore[misc]
        return init.__get__(value, owner)


def _annotations_in(namespace: dict[str, Any]) -> dict[str, object]:
    """Return the annotations of a class from the names in its body.

    From Python 3.14 on a body without `from __future__ import annotations` has a function for them (PEP 649).
    """
    if (annotate := namespace.get("__annotate_func__")) is not None:
        found: dict[str, object] = annotate(1)  # Format.VALUE
        return found
    own: dict[str, object] = namespace.get("__annotations__", {})
    return own


@cache
def _as_dataclass(cls: _Definition) -> dict[str, Field[Any]]:
    """Return the fields of a dataclass like this class."""
    from dataclasses import MISSING, field, make_dataclass

    like: Any = make_dataclass(
        cls.__name__,
        [
            (
                name,
                kind,
                field(
                    default=MISSING if default is _REQUIRED else default,
                    repr=name not in cls._hidden,
                    kw_only=name in cls._keywords,
                ),
            )
            for (name, kind), default in zip(cls._types.items(), cls._defaults.values(), strict=True)
        ],
    )
    fields: dict[str, Field[Any]] = like.__dataclass_fields__
    return fields


class _DataclassFields:
    """The attribute by which `dataclasses` recognises its own; few programs look at it."""

    def __get__(self, value: object, cls: Any) -> dict[str, Field[Any]]:
        return _as_dataclass(cls)


class Value(metaclass=_Definition):
    """A base class for values that nobody changes; only type checkers see to that, so they are made fast."""

    if TYPE_CHECKING:
        __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    else:
        __dataclass_fields__ = _DataclassFields()

    def __eq__(self, other: object) -> bool:
        """Compare with a value of the same class, field by field."""
        return self.__getstate__() == other.__getstate__() if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        """Return the hash of the fields."""
        return hash(self.__getstate__())

    def __repr__(self) -> str:
        """Return the call that makes it, without hidden fields."""
        kind = type(self)
        shown = (f"{name}={getattr(self, name)!r}" for name in kind._defaults if name not in kind._hidden)
        return f"{kind.__qualname__}({', '.join(shown)})"

    def __replace__(self, /, **changes: object) -> Self:
        """Return one like this with other fields, checked anew; `dataclasses.replace` does the same, but slower."""
        return type(self)(**{name: getattr(self, name) for name in type(self)._defaults} | changes)

    def __getstate__(self) -> tuple[object, ...]:
        """Return the fields' values, for `copy` and `pickle`."""
        return tuple([getattr(self, name) for name in type(self)._defaults])

    def __setstate__(self, values: tuple[object, ...]) -> None:
        """Set the fields, for `copy` and `pickle`."""
        for name, value in zip(type(self)._defaults, values, strict=True):
            object.__setattr__(self, name, value)


class FrozenValue(Value):
    """A base class for values that cannot be changed, for programs that are not checked."""

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse it."""
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        """Refuse it."""
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot delete field {name!r}")


def as_dict(value: Value) -> dict[str, Any]:
    """Return the fields with their values."""
    return {name: getattr(value, name) for name in type(value)._defaults}


if TYPE_CHECKING:
    from dataclasses import replace as replace  # type checkers know its arguments
else:

    def replace(value: Value, /, **changes: object) -> Value:
        """Return a value with some fields changed, checked anew."""
        return value.__replace__(**changes)


if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple  # type checkers know no other
else:

    class _TupleDefinition(type):
        """Makes a named tuple from annotations, defaults and methods."""

        def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
            """Make the class; it is no instance of this one."""
            if not bases:
                return super().__new__(cls, name, bases, namespace)  # `NamedTuple` itself
            types = _annotations_in(namespace)
            defaults = [namespace.pop(each) for each in types if each in namespace]
            made = namedtuple(name, types, defaults=defaults, module=namespace["__module__"])  # noqa: PYI024
            made.__annotations__ = made.__new__.__annotations__ = types
            for each, value in namespace.items():
                if each not in _NOT_OF_TUPLES:
                    setattr(made, each, value)
            return made

    class NamedTuple(metaclass=_TupleDefinition):
        """A base class for values that are tuples: their classes are made as by `typing.NamedTuple`."""
