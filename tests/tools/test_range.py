"""Money so large that sums could no longer be kept exactly: the call is denied, and its case goes on."""

from __future__ import annotations

from interlock.storage.claim import CLAIM
from tests.tools.plant import POLICY, bank, plant

ANY = '\n@id("ANY") permit(principal, action == Interlock::Action::"bank.pay", resource);'


async def test_a_sum_out_of_range_denies_the_call_and_does_not_end_the_drive() -> None:
    async with plant(policies=POLICY + ANY) as one:
        bank(one)
        claim = await one.case()
        token = CLAIM.set(claim)
        try:
            denied = await one.pay(2**62 + 1)
            assert (denied.status, denied.reasons[0].policy) == ("denied", "gateway.limit")
            assert claim.poison is None
            assert (await one.pay(100, slot=1)).status == "done"
        finally:
            CLAIM.reset(token)
        assert dict(one.world.done) == {"pay 100 acme": 1}
        assert await one.effect(denied) == {}
        assert len(await one.events("limit.reserved")) == 1
