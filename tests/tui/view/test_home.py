"""What there is room for beside the table of the fleet."""

from tests.tui import worlds
from tui.view.events import Journal
from tui.view.home import arrange, side
from tui.view.picture import printed


def test_where_lines_are_few_the_table_of_several_machines_has_most_of_them():
    several, one = worlds.WORLDS["several"](), worlds.WORLDS["fleet"]()
    layout = arrange(several, width=80, height=18, short=True)
    assert (layout.beside, layout.height, layout.cards) == (False, 3, False)
    drawn = [printed(line, colour=False) for line in side(several, Journal(), layout).lines]
    assert len(drawn) == 3
    assert not [text for text in drawn if "▇" in text or "cpu" in text], "events alone"
    assert arrange(several, width=80, height=30).cards
    assert arrange(one, width=80, height=18, short=True).cards


def test_where_lines_are_few_and_cards_many_none_is_shown_rather_than_some():
    one = worlds.WORLDS["fleet"]()
    layout = arrange(one, width=60, height=15, short=True)
    assert (layout.cards, layout.height) == (False, 2)
    host, happened = (printed(line, colour=False) for line in side(one, Journal(), layout).lines)
    assert host.startswith(" host  cpu")
    assert "Exited" in happened or "Fetched" in happened
    assert arrange(one, width=80, height=19, short=True).cards
