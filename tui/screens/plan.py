"""What would be done now and after, why, and at what cost. While the fleet is paused: what an edit would do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from textual.binding import Binding, BindingType
from textual.widget import Widget

from reconciler.client import Client
from reconciler.model.errors import HoldfastError
from tui.reading import Reading
from tui.screens.confirm import Confirm
from tui.screens.place import Place
from tui.view.ahead import Section, consent, machine_of, opened, plan_picture, waiting
from tui.view.outlook import Outlook
from tui.view.world import World
from tui.widgets.canvas import Canvas

if TYPE_CHECKING:
    from reconciler.model.facts import Road

    Foreseen = tuple[Road, Outlook]


class Plan(Place):
    """The road ahead of every machine, asked again whenever how a fleet does has changed."""

    place = "Plan"
    DEFAULT_CSS = "Plan > #plan { margin: 1 1 0 1; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "open", "open"),
        Binding("a", "apply", "apply", tooltip="look now; consent to what is held"),
        Binding("P", "pause_all", "pause or resume all", tooltip="pause the whole fleet, or resume it"),
        Binding("v", "steps", "every step", tooltip="step by step, or what they come to"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._readings: dict[str, Reading[Foreseen]] = {}
        self._steps = False

    def body(self) -> Iterable[Widget]:
        """One page."""
        yield Canvas(id="plan")

    def paint(self, world: World) -> None:
        """What was last told; and ask, where that is old."""
        for name, machine in world.machines.items():
            if machine.status is not None and not machine.away:
                self._reading(name).want(machine.status)
        picture = plan_picture(self._sections(world), wall=world.wall, width=self.size.width - 3, steps=self._steps)
        self.query_one("#plan", Canvas).show(picture)

    def _reading(self, name: str) -> Reading[Foreseen]:
        if name not in self._readings:
            client = self.board.client(name)

            def ask() -> Foreseen:
                from tui.view.foresee import outlook  # noqa: PLC0415  dear, and wanted here alone

                road = client.road()
                return road, outlook(road, machine=name or None)

            self._readings[name] = Reading(ask, self.board.wake)
        return self._readings[name]

    def _sections(self, world: World) -> list[Section]:
        sections: list[Section] = []
        for name, machine in world.machines.items():
            reading = self._reading(name)
            road, seen = reading.value or (None, None)
            sections.append(Section(machine=machine, road=road, seen=seen, at=reading.at, error=reading.error))
        return sections

    def _section(self) -> Section:
        """That of the machine under the cursor, else the first."""
        sections = self._sections(self.board.world)
        name = machine_of(self.query_one("#plan", Canvas).key)
        return next((each for each in sections if each.machine.name == name), sections[0])

    def on_canvas_chosen(self, chosen: Canvas.Chosen) -> None:
        """The workload that it happens to."""
        self.open_workload(opened(chosen.key))

    async def action_open(self) -> None:
        """What is under the cursor."""
        await self.query_one("#plan", Canvas).action_choose()

    def action_steps(self) -> None:
        """Show every step, or what they come to."""
        self._steps = not self._steps
        self.draw()

    def action_apply(self) -> None:
        """Look again now; consent to what is held, once it is known what that is."""
        section = self._section()
        name = section.machine.name

        def consented(client: Client) -> str:
            if more := set(waiting(client.road())) - set(held):
                raise HoldfastError(f"nothing was removed: {', '.join(sorted(more))} would be too by now; ask again")
            return client.apply(prune=True)

        def answered(yes: bool | None) -> None:
            if yes:
                self.board.ask(name, consented)

        if held := section.held:
            question = Confirm(consent(held, on=name))
            self.app.push_screen(question, answered)  # pyright: ignore[reportUnknownMemberType]
        else:
            self.board.ask(name, lambda client: client.apply())

    def action_pause_all(self) -> None:
        """Have the daemon do nothing until it is resumed, or go on."""
        machine = self._section().machine
        paused = machine.status is not None and machine.status.paused
        self.board.ask(machine.name, lambda client: client.resume(None) if paused else client.pause(None))
