"""What people are shown of what was started."""

from dataclasses import replace

from reconciler.model.answers import Launched
from reconciler.model.container import Container
from reconciler.model.secret import Secret
from reconciler.plan.launches import launches
from tests.plan.world import fleet, instance

FLEET = fleet("kind: Service\nname: tiny\ncommand: [sleep, infinity]\nreplicas: 11\n")
ONE = instance(FLEET, "tiny/2", run=3)


def test_a_launch_is_shown_with_its_secrets_by_name():
    env = {"TOKEN": Secret(secret="hf-token"), "A": "b"}
    container = Container(image="registry.example/img:1", shm=1)
    told = replace(ONE.launch, env=env, container=container, indices=(1,), port=9000, directory="/srv")
    (shown,) = launches({"tiny/2": replace(ONE, launch=told)})
    assert shown == Launched(
        slot="tiny/2",
        run=3,
        engine="command",
        runtime="docker",
        argv=("sleep", "infinity"),
        env={"A": "b", "TOKEN": "{secret: hf-token}"},
        directory="/srv",
        image="registry.example/img:1",
        gpus=(1,),
        port=9000,
    )


def test_they_are_sorted_by_number_and_what_cannot_be_read_is_left_out():
    there = {slot: replace(instance(FLEET, slot), slot=slot) for slot in ("tiny/10", "tiny/2", "tiny/0")}
    there["tiny/0"] = replace(there["tiny/0"], launch=replace(there["tiny/0"].launch, run=0))
    assert [one.slot for one in launches(there)] == ["tiny/2", "tiny/10"]
