"""What changed, in words, and never a value that could be a secret."""

from reconciler.plan.changes import changes
from tests.plan.world import fleet

BASE = "kind: Model\nname: a\nsource: hf:o/x\n"


def between(one: str, other: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    settings = [next(iter(fleet(text).workloads.values())).settings for text in (one, other)]
    return changes(*settings)


def test_restart_and_live_are_told_apart() -> None:
    assert between(BASE + "context: 8192", BASE + "context: 16384\npriority: 7") == (
        ("context 8192 → 16384",),
        ("priority default → 7",),
    )


def test_sizes_and_durations_are_shown_as_written() -> None:
    restart, live = between(BASE + "memory: 18GiB", BASE + "memory: 20GiB\nhealth: {interval: 90s}")
    assert restart == ("memory 18GiB → 20GiB",)
    assert live == ("health default → interval: 90s",)


def test_values_of_env_and_args_are_never_shown() -> None:
    restart, _ = between(BASE + "env: {A: x, B: same}\nargs: [--key, hunter1]", BASE + "env: {A: y, B: same, C: z}")
    assert restart == ("args", "env (A, C)")


def test_nested_fields_are_named_by_their_path() -> None:
    before, after = (BASE + f"health: {{interval: 5s, failures: {n}}}" for n in (2, 4))
    assert between(before, after) == ((), ("health.failures 2 → 4",))


def test_an_engines_own_command_is_named_as_the_engines() -> None:
    def of(command: str) -> str:
        return f"kind: Engine\nname: e\ncommand: [{command}]\n---\n{BASE}engine: e"

    assert between(of("x"), of("y")) == (("engine's command",), ())


def test_what_another_version_recorded_is_no_reason_to_fail() -> None:
    after = next(iter(fleet(BASE).workloads.values())).settings
    assert changes("{}", after) == (("recorded by another version",), ())
    assert changes("not json", after) == (("recorded by another version",), ())


def test_nothing_changed() -> None:
    assert between(BASE, BASE + "priority: 100") == ((), ())
