"""The bodies of requests: each bounded, and all together."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import pytest

from driftd.serving.requests import AT_ONCE, SMALL, TOO_LARGE, UNAVAILABLE, BodyLimiter, ClientGoneError, RefusedError

LONGEST = 4 * SMALL
Receive = Callable[[], Awaitable[dict[str, Any]]]


def client(*parts: bytes, goes: bool = False) -> Receive:
    """One that sends these parts, and goes away before the end if it `goes`."""
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    if goes:
        messages.append({"type": "http.disconnect"})
    else:
        messages[-1]["more_body"] = False
    waiting = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(waiting)

    return receive


async def read(bodies: BodyLimiter, receive: Receive) -> bytes:
    async with bodies.read(receive) as body:
        return body


async def beside(bodies: BodyLimiter, receives: Iterable[Receive], last: Receive) -> bytes:
    """Read `last` while the others are still being dealt with."""
    held = [bodies.read(item) for item in receives]
    for item in held:
        await item.__aenter__()
    try:
        return await read(bodies, last)
    finally:
        for item in held:
            await item.__aexit__(None, None, None)


def test_a_body_comes_whole_in_any_number_of_parts() -> None:
    """However it is cut, what is read is what was sent; an empty body is none."""
    assert asyncio.run(read(BodyLimiter(LONGEST), client(b"a", b"", b"bc"))) == b"abc"
    assert asyncio.run(read(BodyLimiter(LONGEST), client(b""))) == b""


def test_a_body_that_is_too_long_is_refused_at_the_part_that_makes_it_so() -> None:
    """One byte more than allowed is refused, and no more than that is kept."""
    full = client(b"x" * LONGEST)
    assert len(asyncio.run(read(BodyLimiter(LONGEST), full))) == LONGEST
    with pytest.raises(RefusedError, match=r"larger than 262144 bytes \(serve.max_body\)") as refused:
        asyncio.run(read(BodyLimiter(LONGEST), client(b"x" * LONGEST, b"x")))
    assert refused.value.status == TOO_LARGE


def test_all_bodies_together_are_bounded_and_small_ones_always_pass() -> None:
    """When the long ones take all the room, another long one is to come again later, and a usual one is read."""
    longs = [client(b"x" * LONGEST) for _ in range(AT_ONCE)]
    with pytest.raises(RefusedError, match="other requests take 4 MB") as refused:
        asyncio.run(beside(BodyLimiter(LONGEST), longs, client(b"x" * LONGEST)))
    assert refused.value.status == UNAVAILABLE
    longs = [client(b"x" * LONGEST) for _ in range(AT_ONCE)]
    assert len(asyncio.run(beside(BodyLimiter(LONGEST), longs, client(b"x" * SMALL)))) == SMALL


def test_the_room_of_a_body_is_free_again_however_it_ended() -> None:
    """Read, refused, or left by its client: afterwards as much fits as before."""
    bodies = BodyLimiter(LONGEST)

    async def all_of_them() -> None:
        for _ in range(2 * AT_ONCE):
            await read(bodies, client(b"x" * LONGEST))
            with pytest.raises(RefusedError):
                await read(bodies, client(b"x" * LONGEST, b"x"))
            with pytest.raises(ClientGoneError):
                await read(bodies, client(b"x" * LONGEST, goes=True))

    asyncio.run(all_of_them())
