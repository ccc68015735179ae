"""Values do what dataclasses do: they are equal, hashed, shown, copied, pickled, matched, changed and listed."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import typing
from typing import Any

import pytest

from p2p_copy.value import FrozenValue, NamedTuple, Value, as_dict, replace


class Point(Value):
    """A value that only type checkers protect."""

    x: int
    y: int = 0


class Other(Value):
    """Has the same fields as `Point`."""

    x: int
    y: int = 0


class Empty(FrozenValue):
    """A value without fields."""


class Base(FrozenValue, kw_only=True, hidden=("secret",)):
    """A value with a default, a secret and a check."""

    size: int = 1
    secret: str

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("negative")
        object.__setattr__(self, "secret", self.secret.strip())


class Derived(Base):
    """Inherits fields and check, and has a field that may be given by position."""

    name: str = "none"

    def __post_init__(self) -> None:
        super().__post_init__()


@dataclasses.dataclass(frozen=True)
class Twin:
    """What `Point` would be as a dataclass."""

    x: int
    y: int = 0


VALUES = (Point(1), Point(1, 2), Empty(), Base(secret="a"), Derived("b", secret="c", size=3))


def test_its_init_is_that_of_a_dataclass() -> None:
    assert inspect.signature(Point) == inspect.signature(Twin)
    assert Derived("n", secret="s") == Derived(name="n", size=1, secret="s")
    for wrong in ((), (1, 2, 3)):
        with pytest.raises(TypeError):
            Point(*wrong)
    with pytest.raises(TypeError):
        Empty(1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Base(1, secret="s")  # type: ignore[call-arg]


def test_it_is_checked_also_after_a_change() -> None:
    assert Derived(secret=" s ").secret == "s"
    with pytest.raises(ValueError, match="negative"):
        Derived(secret="s", size=-1)
    for change in (replace, dataclasses.replace):
        with pytest.raises(ValueError, match="negative"):
            change(Derived(secret="s"), size=-1)


def test_it_equals_only_values_of_its_class_with_the_same_fields() -> None:
    assert Point(1) == Point(1, 0)
    assert Point(1) != Point(2)
    assert Point(1) != Other(1)
    assert Point(1) != (1, 0)
    assert len({Point(1), Point(1, 0), Point(2)}) == 2
    assert bool(Empty()) is True


def test_its_repr_is_the_call_without_what_is_hidden() -> None:
    assert repr(Point(1)) == "Point(x=1, y=0)"
    assert repr(Derived("n", secret="s")) == "Derived(size=1, name='n')"


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_it_can_be_copied_pickled_and_rebuilt(value: Value) -> None:
    assert copy.copy(value) == copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == value
    assert replace(value) == dataclasses.replace(value) == type(value)(**as_dict(value)) == value
    assert dataclasses.is_dataclass(value)
    assert dataclasses.asdict(value) == as_dict(value)


def test_dataclasses_sees_its_fields() -> None:
    fields: dict[str, Any] = {each.name: each for each in dataclasses.fields(Derived)}
    assert list(fields) == ["size", "secret", "name"]
    assert [each.default for each in fields.values()] == [1, dataclasses.MISSING, "none"]
    assert [each.repr for each in fields.values()] == [True, False, True]
    assert [each.kw_only for each in fields.values()] == [True, True, False]


def test_it_can_be_matched() -> None:
    match Point(1, 2):
        case Point(x, y=2):
            assert x == 1
        case _:
            pytest.fail("it did not match")


def test_a_frozen_value_cannot_be_changed() -> None:
    value: Any = Base(secret="s")
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.size = 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        del value.size
    assert not hasattr(value, "__dict__")


def test_a_body_may_have_a_function_for_its_annotations() -> None:
    """As without `from __future__ import annotations` from Python 3.14 on."""
    body = {"__module__": __name__, "__annotate_func__": lambda form: {"x": int, "y": int}, "y": 7}
    definition: Any = type(Value)
    late = definition("Late", (Value,), body)
    assert as_dict(late(1)) == {"x": 1, "y": 7}


class Place(NamedTuple):
    """A named tuple."""

    x: int
    y: int = 0
    names: tuple[str, ...] = ()

    @property
    def distance(self) -> int:
        """How far it is."""
        return self.x + self.y

    @classmethod
    def origin(cls) -> Place:
        """Where all begins."""
        return cls(0)


class TypedPlace(typing.NamedTuple):
    """A named tuple."""

    x: int
    y: int = 0
    names: tuple[str, ...] = ()


def test_a_named_tuple_is_made_like_those_of_typing() -> None:
    for name in (
        "_fields",
        "_field_defaults",
        "__doc__",
        "__module__",
        "__bases__",
        "__slots__",
        "__match_args__",
    ):
        assert getattr(Place, name) == getattr(TypedPlace, name), name
    assert inspect.signature(Place).parameters.keys() == inspect.signature(TypedPlace).parameters.keys()
    assert typing.get_type_hints(Place) == typing.get_type_hints(TypedPlace)
    assert Place.__qualname__ == "Place"


def test_a_named_tuple_is_a_tuple_with_names() -> None:
    place = Place(1, names=("a",))
    assert tuple(place) == (1, 0, ("a",))
    assert repr(place) == "Place(x=1, y=0, names=('a',))"
    assert (place.distance, tuple(Place.origin())) == (1, (0, 0, ()))
    assert place._replace(y=2) == (1, 2, ("a",))
    assert copy.copy(place) == pickle.loads(pickle.dumps(place)) == place
    match place:
        case Place(x, y, ("a",)):
            assert (x, y) == (1, 0)
        case _:
            pytest.fail("it does not match")
    with pytest.raises(TypeError, match="missing 1 required"):
        Place()  # type: ignore[call-arg]


def test_a_class_shows_its_parameters_before_its_first_value() -> None:
    class Unused(Base):
        more: int = 3

    assert list(inspect.signature(Unused).parameters) == ["more", "size", "secret"]


def test_a_first_value_by_the_way_of_a_derived_class_leaves_the_base_alone() -> None:
    class Below(Value):
        first: int

    class Above(Below):
        second: int

    assert as_dict(Above(1, 2)) == {"first": 1, "second": 2}
    assert as_dict(Below(3)) == {"first": 3}
