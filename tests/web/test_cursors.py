"""Cursors come back as they were made, or not at all."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heartwood.contracts.cursors import decode_cursor, encode_cursor
from heartwood.contracts.errors import Invalid


@given(st.text(max_size=40), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False))
def test_values_come_back(text, number, real):
    """Whatever the sort key holds survives."""
    assert (text, number, real) == decode_cursor(encode_cursor(text, number, real), str, int, float)


def test_times_and_ids_come_back_as_such():
    """They are given back in their own types."""
    moment, name = datetime(2026, 11, 25, 13, 0, 0, 123456, UTC), UUID(int=7)

    assert (moment, name) == decode_cursor(encode_cursor(moment, name), datetime, UUID)


@given(st.text())
def test_what_is_no_cursor_is_invalid(text):
    """Nothing else than ``Invalid`` comes of what a client made up."""
    with pytest.raises(Invalid) as caught:
        decode_cursor(text, str, int)
    assert "cursor" == caught.value.faults[0].where


@pytest.mark.parametrize("values", [("a",), ("a", 1, 2), (1, "a"), ("a", True), ("a", 1.0), ("a", None)])
def test_a_cursor_of_another_list_is_invalid(values):
    """Number and types must fit."""
    with pytest.raises(Invalid):
        decode_cursor(encode_cursor(*values), str, int)


def test_a_cursor_can_be_put_into_a_query():
    """It needs no quoting."""
    assert encode_cursor("ä/?&", 1).replace("-", "").replace("_", "").isalnum()
