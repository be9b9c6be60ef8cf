"""The story of a fleet of 40 on eight cards of 24 GiB: who is where."""

from textwrap import dedent

from reconciler.model.memory import Memory
from reconciler.plan.road import road
from tests.plan.stories import after, cards, model, told, where
from tests.plan.world import NOW, fleet, machine

FORTY = (
    "".join(model(f"xl{number}", 22, "priority: 300") for number in range(3))
    + model("pair", 20, "gpus: 2\npriority: 200")
    + "".join(model(f"s{number:02}", 2 + (number % 3 == 0)) for number in range(36))
)

FORTY_PLACES = """
    gpu 0: s01/0 xl0/0
    gpu 1: s02/0 xl1/0
    gpu 2: s04/0 xl2/0
    gpu 3: pair/0 s00/0
    gpu 4: pair/0 s03/0
    gpu 5: s06/0 s09/0 s12/0 s15/0 s18/0 s21/0 s24/0 s27/0
    gpu 6: s05/0 s07/0 s08/0 s10/0 s11/0 s13/0 s14/0 s16/0 s17/0 s30/0 s33/0
    gpu 7: s19/0 s20/0 s22/0 s23/0 s25/0 s26/0 s28/0 s29/0 s31/0 s32/0 s34/0 s35/0
"""
LAST = """
    blocked last/0: NoFreeGpu (needs one gpu with 3.0 GiB free; gpu 0: none of 24.0 GiB free beside s01/0, xl0/0; \
gpu 1: none of 24.0 GiB free beside s02/0, xl1/0; gpu 2: none of 24.0 GiB free beside s04/0, xl2/0; gpu 3: 1.0 \
GiB of 24.0 GiB free beside pair/0, s00/0; gpu 4: 1.0 GiB of 24.0 GiB free beside pair/0, s03/0; gpu 5: none of \
24.0 GiB free beside s06/0, s09/0, s12/0 and 5 more; gpu 6: none of 24.0 GiB free beside s05/0, s07/0, s08/0 and \
8 more; gpu 7: none of 24.0 GiB free beside s19/0, s20/0, s22/0 and 9 more)
"""


def test_a_fleet_of_40_on_8_cards_of_24_gib_is_where_an_operator_would_put_it() -> None:
    """Three large ones and a gang by priority, 36 small ones in what is left."""
    plans = road(fleet(FORTY), machine(gpus=cards(8)), {}, Memory(), NOW)
    assert where(plans) == dedent(FORTY_PLACES).strip()
    assert told(plans[-1:]) == "nothing to do"


def test_the_41st_is_told_of_every_card_and_changes_nothing_for_the_others() -> None:
    on = after(FORTY, machine(gpus=cards(8)))
    plans = road(fleet(FORTY + model("last", 3)), on, {}, Memory(), NOW)
    assert told(plans) == dedent(LAST).strip()
