"""What the master makes of what its workers say, without any of them running."""

import msgspec

from reconciler.gateway.board import Board
from reconciler.gateway.channel import Kind
from reconciler.gateway.workers import Worker, Workers
from tests.gateway.on_loop import on_loop


class Told(Workers):
    """Two workers that go by the first table, and what of them is to be reported."""

    def __init__(self) -> None:
        self.changes: list[bool] = []
        super().__init__(
            board=Board.create(3), options=(), environment={}, changed=self.changes.append, scrape=lambda *_: None
        )
        self.two = [Worker(pid=0, slot=slot, column=slot + 1, width=3, seen=("e", 1), began=0.0) for slot in range(2)]

    def follow(self, seq: int, *, awaited: bool) -> list[bool]:
        """Whether it is urgent that the first goes by a table, and then that the second does."""
        self.take(b"{}", ("e", seq), 1.0, awaited=awaited)
        self.all.update(self.two)
        self.changes.clear()
        for worker in self.two:
            self._heard(worker, Kind.SEEN, msgspec.json.encode(("e", seq)))
        self.all.clear()
        return list(self.changes)


@on_loop
async def test_that_all_go_by_a_table_is_urgent_where_something_waits_for_it() -> None:
    told = Told()
    assert told.follow(2, awaited=True) == [False, True]
    assert told.follow(3, awaited=False) == [False, False]
