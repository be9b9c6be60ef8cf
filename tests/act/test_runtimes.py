"""All runtimes together: what holds of a slot whichever of them it is in."""

import contextlib

from reconciler.act.logs import Reader
from reconciler.act.runtimes import Runtimes
from tests.act.stage import ended, launch, live, sh


@contextlib.asynccontextmanager
async def runtimes(stage):
    made = Runtimes(str(stage.state), on_change=stage.changes.append)
    await made.open()
    try:
        yield made
    finally:
        await made.close()


def test_what_comes_back_after_it_was_forgotten_counts_its_runs_on(stage):
    async def scene():
        async with runtimes(stage) as made:
            for run in (1, 2):
                await made.start(launch(run=run, argv=sh("echo before; exit 3")), {})
                await ended(made.process)
            await made.forget("chat/0", 2)
            await made.start(launch(run=1, argv=sh("echo again")), {})
            await ended(made.process)
            assert made.process.instances["chat/0"].launch.run == 3
            assert Reader(str(stage.state)).runs("chat", 0) == (1, 2, 3)
            assert stage.log(run=1) == "before\n"
            assert stage.log(run=3) == "again\n"
            told = made.runs.of("chat", made.process.instances)
            assert [(each.run, each.outcome) for each in told] == [
                (3, "exited with status 0"),
                (2, "exited with status 3 (before)"),
                (1, "exited with status 3 (before)"),
            ]

    live(scene())


def test_what_is_there_is_started_as_it_was_ordered(stage):
    async def scene():
        async with runtimes(stage) as made:
            for _ in range(2):
                await made.start(launch(run=1), {})
            assert made.process.instances["chat/0"].launch.run == 1

    live(scene())
