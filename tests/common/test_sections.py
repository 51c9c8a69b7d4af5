"""A section of the configuration becomes a dataclass, or is refused by the key that is wrong."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest

from chemscale.common.sections import ConfigurationError, Range, read_section


@dataclass(frozen=True)
class Inner:
    skips: int = 3


@dataclass(frozen=True)
class Outer:
    name: str
    rate: float = 1.0
    hashed: int | float = 0
    choice: bool | Literal["auto"] = False
    limit: int | None = None
    betas: tuple[float, float] = (0.9, 0.95)
    inner: Inner = field(default_factory=Inner)
    extra: dict[str, Any] = field(default_factory=dict)


def read(**values) -> Outer:
    return read_section(Outer, {"name": "x", **values}, "outer")


def test_values_of_the_right_type_are_taken_and_lists_become_tuples():
    found = read(rate=2, choice="auto", betas=[0.5, 0.6], inner={"skips": 4}, extra={"a": [1]})
    assert found == Outer("x", 2.0, 0, "auto", None, (0.5, 0.6), Inner(4), {"a": [1]})
    assert type(found.rate) is float


def test_a_whole_number_stays_one_where_the_difference_is_hashed():
    assert type(read(hashed=1).hashed) is int
    assert type(read(hashed=1.0).hashed) is float


def test_a_number_out_of_its_range_is_not_asked_to_be_whole_where_it_need_not_be():
    @dataclass
    class Shares:
        held_out: Annotated[int, Range(0, 1, below=True)] | Annotated[float, Range(0, 1, below=True)] = 0

    with pytest.raises(ConfigurationError, match="held_out=2: give a number at least 0 and below 1"):
        read_section(Shares, {"held_out": 2}, "")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rate": "fast"}, r"outer\.rate='fast': give a number\."),
        ({"rate": True}, r"outer\.rate=true: give a number\."),
        ({"rate": None}, r"outer\.rate=null: give a number\."),
        ({"limit": 1.5}, r"outer\.limit=1\.5: give a whole number or null\."),
        ({"choice": "often"}, r"outer\.choice='often': give true, false or auto\."),
        ({"name": 3}, r"outer\.name=3: give text,"),
        ({"betas": 0.9}, r"outer\.betas=0\.9: give a list\."),
        ({"betas": ["a", "b"]}, r"outer\.betas='a': give a number\."),
        ({"inner": {"skips": "x"}}, r"outer\.inner\.skips='x': give a whole number\."),
        ({"inner": 3}, r"outer\.inner=3: give a mapping\."),
        ({"hashed": "x"}, r"outer\.hashed='x': give a number\."),
        ({"rats": 3}, r"outer\.rats: nothing reads this key\. There are outer\.name"),
    ],
)
def test_a_wrong_value_is_refused_by_its_key_and_says_what_may_be_given(values, words):
    with pytest.raises(ConfigurationError, match=words):
        read(**values)


def test_a_key_that_must_be_given_is_named():
    with pytest.raises(ConfigurationError, match=r"outer\.name is missing"):
        read_section(Outer, {}, "outer")
