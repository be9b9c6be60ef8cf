"""The fleet that is believed: last good versions, patience, one place for each name (faults 34, 39–41)."""

import os
import shutil
from pathlib import Path
from textwrap import dedent

import pytest

from reconciler.model.fleet import Fleet, slots_of
from reconciler.spec.load import Loader, load_once
from tests.spec.place import Place, both, model, names, problems, service

ENGINE = dedent("""\
    kind: Engine
    name: mine
    command: [serve, "{source}", --speed, "{params.speed}"]
    params: {type: object, properties: {speed: {type: integer, maximum: 9}}, additionalProperties: false}
    """)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "fleet.d", {"a.yaml": model("a"), "b.yaml": model("b"), "team/c.yaml": service("c")})


def test_a_fleet_names_its_files_as_a_person_would_type_them(place: Place) -> None:
    fleet = place.loaded.fleet
    assert names(fleet) == ["a", "b", "c"]
    assert fleet.workloads["c"].source.path == "fleet.d/team/c.yaml"
    assert fleet.workloads["c"].directory == str(place.root / "team")
    assert (fleet.problems, fleet.missing, fleet.revision) == ((), None, None)
    assert place.loaded.look_again_at is None


def test_the_first_line_of_a_document_is_where_a_resource_is_declared(tmp_path: Path) -> None:
    place = Place(tmp_path / "f", {"a.yaml": "# about a\n\n" + both(model("a"), "# about b\n" + model("b"))})
    assert [each.source.line for each in place.loaded.fleet.workloads.values()] == [3, 8]


@pytest.mark.parametrize("engine", ["", ENGINE], ids=["as it is", "with its engine"])
def test_the_line_that_pauses_something_is_known_by_its_number(tmp_path: Path, engine: str) -> None:
    paused = (
        "# about b\n" + model("b", engine="mine" if engine else "vllm") + "\n# for now\npaused: true  # until noon\n"
    )
    text = "# about a\n" + both(model("a"), paused)
    place = Place(tmp_path / "f", {"a.yaml": text, **({"engine.yaml": engine} if engine else {})})
    found = place.loaded.fleet.workloads
    assert found["a"].source.pause == 0
    assert text.splitlines().index("paused: true  # until noon") + 1 == found["b"].source.pause


def test_the_same_fleet_is_returned_until_something_changes(place: Place) -> None:
    before = place.loaded.fleet
    assert place.wait(100) is before
    assert place.look() is before
    assert place.look("a.yaml", "nothing.yaml") is before
    place.write("a.yaml", model("a"))  # written again, and the same
    assert place.look() is before


def test_an_addition_and_a_change_are_believed_at_once(place: Place) -> None:
    before = place.loaded.fleet
    place.write("a.yaml", model("a", replicas=3))
    place.write("new/d.yaml", model("d"))
    after = place.look("a.yaml", "new/d.yaml")
    assert names(after) == ["a", "b", "c", "d"]
    assert after.workloads["a"].replicas == (3, 3)
    assert after.workloads["b"] is before.workloads["b"]
    assert before.workloads["a"].replicas == (1, 1)


def test_each_of_many_files_is_read_as_if_it_were_alone(tmp_path: Path) -> None:
    texts = {
        f"{index % 7}/m{index}.yaml": (
            model(f"m{index}", priority=index),
            "kind: [\n",
            both(model(f"m{index}"), service(f"s{index}")),
            "# nothing\n",
            model(f"m{index}", priority=-1),
        )[index % 5]
        for index in range(300)
    }
    place = Place(tmp_path / "f", texts)
    os.symlink("m0.yaml", place.root / "0" / "z.yaml")
    place.look()
    together = place.wait(2)
    alone = Place(tmp_path / "g")
    for path, text in texts.items():
        alone.write(path, text)
        alone.look(path)
    os.symlink("m0.yaml", alone.root / "0" / "z.yaml")
    alone.look()
    one_by_one = alone.wait(2)
    assert {name: (each.digest, each.source.line) for name, each in together.workloads.items()} == {
        name: (each.digest, each.source.line) for name, each in one_by_one.workloads.items()
    }
    assert [text.replace("f/", "", 1) for text in problems(together)] == [
        text.replace("g/", "", 1) for text in problems(one_by_one)
    ]
    assert len(together.problems) == 121
    assert together.workloads["s2"].source.path == "f/2/m2.yaml"
    assert together.workloads["s2"].directory == str(place.root / "2")


def test_only_files_that_were_hinted_at_are_looked_at(place: Place) -> None:
    place.write("a.yaml", model("a", replicas=3))
    place.write("b.yaml", model("b", replicas=3))
    after = place.look("a.yaml")
    assert [after.workloads[name].replicas[0] for name in ("a", "b")] == [3, 1]
    assert place.look().workloads["b"].replicas[0] == 3


def test_slots_follow_every_change(place: Place) -> None:
    place.write("a.yaml", model("a", replicas=4))
    place.write("b.yaml", model("b", replicas="{min: 0, max: 2}"))
    place.look()
    place.remove("team/c.yaml")
    place.look()
    fleet = place.wait(2)
    assert sorted(fleet.slots) == ["a/0", "a/1", "a/2", "a/3"]
    assert fleet.slots == slots_of(fleet.workloads)
    place.write("a.yaml", model("a", replicas=2, context=1))
    assert place.look().slots == slots_of(place.look().workloads)


# P1: half-written is never a deletion


def test_a_removed_file_is_believed_after_a_rest(place: Place) -> None:
    before = place.loaded.fleet
    place.remove("a.yaml")
    assert place.look() is before
    assert place.loaded.look_again_at == place.now + 1.0
    assert place.wait(0.9) is before
    assert names(place.wait(0.2)) == ["b", "c"]
    assert place.loaded.look_again_at is None


def test_removals_are_believed_together(place: Place) -> None:
    place.remove("a.yaml")
    place.look("a.yaml")
    place.remove("b.yaml")
    assert names(place.look("b.yaml", after=0.7)) == ["a", "b", "c"]
    assert names(place.wait(0.7)) == ["a", "b", "c"]
    assert names(place.wait(0.4)) == ["c"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "# to be written\n",
        "kind: Model\nname: a\n",
        "kind: Mod",
        "kind: Model\nname: a\nsource: [",
        "\x00\x00",
    ],
    ids=["empty", "blank", "comment", "half", "half a word", "half a list", "NUL"],
)
def test_a_half_written_file_is_never_a_deletion(place: Place, text: str) -> None:
    before = place.loaded.fleet
    place.write("a.yaml", text)
    assert place.look("a.yaml") is before
    assert place.look(after=0.5) is before
    place.write("a.yaml", model("a", replicas=2))
    assert place.look("a.yaml").workloads["a"].replicas == (2, 2)
    assert place.wait(5).workloads["a"].replicas == (2, 2)
    assert problems(place.loaded.fleet) == []


@pytest.mark.parametrize("cut", range(1, len(model("a", replicas=7, priority=5)), 5))
def test_whatever_part_of_a_file_is_written_its_resource_stays(place: Place, cut: int) -> None:
    place.write("a.yaml", model("a", replicas=7, priority=5)[:cut])
    place.look("a.yaml")
    fleet = place.wait(0.5)
    assert "a" in fleet.workloads
    assert fleet.workloads["a"].replicas in {(1, 1), (7, 7)}


def test_a_file_without_its_last_newline_is_believed_after_a_rest(place: Place) -> None:
    place.write("a.yaml", model("a", replicas=12).rstrip("\n")[:-1])  # 12, of which 1 was written
    place.write("b.yaml", model("b", replicas=3).rstrip("\n"))
    before = place.loaded.fleet
    assert place.look() is before
    place.write("a.yaml", model("a", replicas=12))
    fleet = place.look("a.yaml", after=0.5)
    assert (fleet.workloads["a"].replicas, fleet.workloads["b"].replicas) == ((12, 12), (1, 1))
    assert place.wait(0.6).workloads["b"].replicas == (3, 3)


def test_fewer_documents_than_before_are_believed_after_a_rest(tmp_path: Path) -> None:
    place = Place(tmp_path / "f", {"x.yaml": both(model("a"), model("b"))})
    place.write("x.yaml", model("a"))
    assert names(place.look()) == ["a", "b"]
    assert names(place.wait(1.1)) == ["a"]


def test_what_comes_back_in_time_was_never_gone(place: Place) -> None:
    before = place.loaded.fleet
    text = (place.root / "a.yaml").read_text()
    place.remove("a.yaml")
    place.look("a.yaml")
    place.write("a.yaml", text)
    assert place.look("a.yaml", after=0.5) is before
    assert place.wait(5) is before


def test_offline_everything_is_believed_at_once(place: Place) -> None:
    place.remove("a.yaml")
    place.write("b.yaml", "kind: Model\nname: b")
    fleet = load_once(str(place.root))
    assert names(fleet) == ["c"]
    assert [problem.names for problem in fleet.problems] == [("b",)]


# last good versions


def test_a_broken_file_keeps_its_last_good_version_and_says_what_is_wrong(place: Place) -> None:
    place.write("a.yaml", model("a", priority=5000))
    assert problems(place.look("a.yaml")) == []
    fleet = place.wait(1.1)
    assert fleet.workloads["a"].priority == 100
    assert problems(fleet) == ["fleet.d/a.yaml:4:11: priority: cannot be 5000; choose 0–1000"]
    assert fleet.problems[0].names == ("a",)
    place.write("a.yaml", model("a", priority=500))
    mended = place.look("a.yaml")
    assert (mended.problems, mended.workloads["a"].priority) == ((), 500)


def test_a_file_that_is_no_yaml_keeps_all_it_declared(tmp_path: Path) -> None:
    place = Place(tmp_path / "f", {"x.yaml": both(model("a"), model("b"))})
    place.write("x.yaml", both(model("a", priority=1), "kind: [\n"))
    place.look()
    fleet = place.wait(1.1)
    assert {name: each.priority for name, each in fleet.workloads.items()} == {"a": 100, "b": 100}
    assert [problem.names for problem in fleet.problems] == [("a", "b")]


def test_a_broken_document_holds_only_itself(tmp_path: Path) -> None:
    place = Place(tmp_path / "f", {"x.yaml": both(model("a"), model("b"))})
    place.write("x.yaml", both(model("a", priority=1), model("b", gpuz=1), model("d")))
    place.look()
    fleet = place.wait(1.1)
    assert {name: each.priority for name, each in fleet.workloads.items()} == {"a": 1, "b": 100, "d": 100}
    assert [problem.names for problem in fleet.problems] == [("b",)]


def test_a_broken_file_stops_no_other(place: Place) -> None:
    place.write("a.yaml", "kind: [\n")
    place.write("b.yaml", model("b", priority=7))
    fleet = place.look()
    assert fleet.workloads["b"].priority == 7


def test_a_file_that_was_broken_from_the_start_names_what_it_would_declare(tmp_path: Path) -> None:
    place = Place(tmp_path / "f", {"x.yaml": both(model("a"), model("b", gpuz=1))})
    assert names(place.loaded.fleet) == ["a"]
    assert [problem.names for problem in place.loaded.fleet.problems] == [("b",)]


def test_a_broken_file_that_is_removed_goes_with_its_last_good_version(place: Place) -> None:
    place.write("a.yaml", "kind: [\n")
    place.look()
    place.wait(1.1)
    place.remove("a.yaml")
    place.look()
    fleet = place.wait(1.1)
    assert (names(fleet), fleet.problems) == (["b", "c"], ())


# one place for each name (fault 41)


def test_one_name_in_two_files_blocks_both_and_names_both(place: Place) -> None:
    before = place.loaded.fleet.workloads["a"]
    place.write("z.yaml", "# a second a\n" + model("a", priority=9))
    fleet = place.look("z.yaml")
    assert fleet.workloads["a"] is before
    assert problems(fleet) == [
        "fleet.d/a.yaml:2:7: name: cannot be a: declared in fleet.d/z.yaml:3 too; rename one or remove it",
        "fleet.d/z.yaml:3:7: name: cannot be a: declared in fleet.d/a.yaml:2 too; rename one or remove it",
    ]
    assert [problem.names for problem in fleet.problems] == [("a",), ("a",)]
    place.write("a.yaml", model("a", priority=3))
    assert place.look().workloads["a"] is before
    place.remove("z.yaml")
    place.look()
    fleet = place.wait(1.1)
    assert (fleet.workloads["a"].priority, fleet.problems) == (3, ())


def test_one_name_twice_from_the_start_declares_nothing_and_does_not_depend_on_order(tmp_path: Path) -> None:
    files = {"a.yaml": model("x"), "b.yaml": service("x"), "c.yaml": model("y")}
    found: list[Fleet] = []
    for number, order in enumerate((list(files), list(reversed(files)))):
        place = Place(tmp_path / str(number) / "f" if (tmp_path / str(number)).mkdir() is None else tmp_path)
        for path in order:
            place.write(path, files[path])
        found.append(load_once(str(place.root)))
    assert [names(fleet) for fleet in found] == [["y"], ["y"]]
    assert problems(found[0]) == problems(found[1])
    assert len(found[0].problems) == 2


def test_one_name_twice_in_one_file_names_both_lines(tmp_path: Path) -> None:
    place = Place(tmp_path / "f", {"x.yaml": both(model("a"), model("a"))})
    assert [problem.message for problem in place.loaded.fleet.problems] == [
        "cannot be a: declared in f/x.yaml:6 too; rename one or remove it",
        "cannot be a: declared in f/x.yaml:2 too; rename one or remove it",
    ]


@pytest.mark.parametrize("hints", [("z.yaml",), ("a.yaml", "z.yaml"), ()], ids=["new place only", "both", "everything"])
def test_a_renamed_file_is_no_duplicate_and_no_removal(place: Place, hints: tuple[str, ...]) -> None:
    os.rename(place.root / "a.yaml", place.root / "z.yaml")
    fleet = place.look(*hints)
    assert (names(fleet), problems(fleet)) == (["a", "b", "c"], [])
    assert fleet.workloads["a"].source.path == "fleet.d/z.yaml"
    assert place.wait(5) is fleet


def test_a_resource_that_moves_to_another_file_is_no_duplicate(tmp_path: Path) -> None:
    place = Place(tmp_path / "f", {"x.yaml": both(model("a"), model("b")), "y.yaml": model("c")})
    place.write("x.yaml", model("a"))
    place.write("y.yaml", both(model("c"), model("b", priority=3)))
    fleet = place.look()
    assert (names(fleet), problems(fleet), fleet.workloads["b"].priority) == (["a", "b", "c"], [], 3)


def test_a_renamed_directory_keeps_everything_in_it(place: Place) -> None:
    os.rename(place.root / "team", place.root / "crew")
    fleet = place.look()
    assert (names(fleet), problems(fleet)) == (["a", "b", "c"], [])
    assert fleet.workloads["c"].source.path == "fleet.d/crew/c.yaml"


def test_an_alias_that_is_a_name_blocks_both_and_names_both(place: Place) -> None:
    place.write("a.yaml", model("a", aliases="[b]"))
    fleet = place.look()
    assert fleet.workloads["a"].spec.model_dump()["aliases"] == ()
    assert problems(fleet) == [
        "fleet.d/a.yaml:4:10: aliases: cannot answer to b: b (fleet.d/b.yaml:2) answers to it too; choose another name "
        "for one of them, or give both a weight to share its requests",
        "fleet.d/b.yaml:2:7: name: cannot answer to b: a (fleet.d/a.yaml:2) answers to it too; choose another name "
        "for one of them, or give both a weight to share its requests",
    ]
    place.write("a.yaml", model("a", aliases="[b2]"))
    assert problems(place.look()) == []


def test_two_models_of_one_alias_or_adapter_are_a_problem(tmp_path: Path) -> None:
    files = {"a.yaml": model("a", aliases="[x]"), "b.yaml": model("b", adapters="[{name: x, source: 'hf:o/r'}]")}
    place = Place(tmp_path / "f", files)
    assert names(place.loaded.fleet) == []
    assert [(problem.key, problem.names) for problem in place.loaded.fleet.problems] == [
        ("aliases", ("a",)),
        ("adapters", ("b",)),
    ]


def test_models_that_all_give_a_weight_share_a_name(place: Place) -> None:
    place.write("a.yaml", model("a", aliases="[b]", weight=5))
    assert len(problems(place.look())) == 2, "b gives none"
    place.write("b.yaml", model("b", weight=95))
    fleet = place.look()
    assert problems(fleet) == []
    assert [fleet.workloads[name].spec.model_dump()["weight"] for name in ("a", "b")] == [5, 95]
    place.write("b.yaml", model("b"))
    assert len(problems(place.look())) == 2


def test_engines_and_nodes_may_be_named_as_models_are(tmp_path: Path) -> None:
    node = "kind: Node\nname: mine\nports: 8000-8001\n"
    place = Place(tmp_path / "f", {"x.yaml": both(ENGINE, node, model("mine", engine="mine"))})
    fleet = place.loaded.fleet
    assert (list(fleet.engines), list(fleet.nodes), list(fleet.workloads), fleet.problems) == (
        ["mine"],
        ["mine"],
        ["mine"],
        (),
    )


# engines


def test_a_model_of_an_unknown_engine_is_a_problem_until_the_engine_is_there(place: Place) -> None:
    place.write("a.yaml", model("a", engine="mine"))
    fleet = place.look()
    assert fleet.workloads["a"].engine != "mine"
    [problem] = fleet.problems
    assert str(problem).startswith("fleet.d/a.yaml:4:9: engine: cannot be mine: nothing declares such an engine")
    place.write("engines.yaml", ENGINE)
    fleet = place.look()
    assert (fleet.workloads["a"].template, fleet.problems) == (fleet.engines["mine"], ())


def test_a_changed_engine_changes_the_models_that_use_it_and_no_others(place: Place) -> None:
    place.write("engines.yaml", ENGINE)
    place.write("a.yaml", model("a", engine="mine"))
    before = place.look()
    place.write("engines.yaml", ENGINE.replace("[serve,", "[serve2,"))
    after = place.look()
    assert after.workloads["a"].fingerprint != before.workloads["a"].fingerprint
    assert after.slots["a/0"] == after.workloads["a"].digest
    assert after.workloads["b"] is before.workloads["b"]


def test_an_engine_that_takes_a_known_name_is_used_and_given_back(place: Place) -> None:
    before = place.loaded.fleet.workloads["a"]
    place.write("engines.yaml", ENGINE.replace("name: mine", f"name: {before.engine}"))
    fleet = place.look()
    assert fleet.workloads["a"].template == fleet.engines[before.engine]
    assert fleet.workloads["a"].fingerprint != before.fingerprint
    place.remove("engines.yaml")
    place.look()
    fleet = place.wait(1.1)
    assert (fleet.engines, fleet.workloads["a"]) == ({}, before)


def test_a_removed_engine_leaves_its_models_as_they_were(place: Place) -> None:
    place.write("engines.yaml", ENGINE)
    place.write("a.yaml", model("a", engine="mine"))
    before = place.look().workloads["a"]
    place.remove("engines.yaml")
    place.look()
    fleet = place.wait(1.1)
    assert fleet.workloads["a"] is before
    assert [problem.names for problem in fleet.problems] == [("a",)]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("{speed: 3}", None),
        ("{speed: 10}", "5:17: params.speed: cannot be taken by engine mine, which asks for maximum: 9"),
        ("{speed: fast}", "5:17: params.speed: cannot be taken by engine mine, which asks for type: integer"),
        ("{sped: 1}", "5:9: params: cannot be taken by engine mine, which asks for additionalProperties: False"),
    ],
)
def test_params_are_checked_against_the_schema_of_the_engine(place: Place, params: str, message: str | None) -> None:
    place.write("engines.yaml", ENGINE)
    place.write("a.yaml", model("a", engine="mine", params=params))
    found = problems(place.look())
    assert found == ([] if message is None else [f"fleet.d/a.yaml:{message}"])


# the directory as a whole (fault 40)


def test_a_directory_that_goes_takes_nothing_with_it(place: Place) -> None:
    before = place.loaded.fleet
    shutil.move(place.root, place.root.parent / "away")
    fleet = place.look()
    assert fleet.workloads is before.workloads
    assert "does not exist" in str(fleet.missing)
    assert place.wait(100).workloads is before.workloads
    shutil.move(place.root.parent / "away", place.root)
    fleet = place.look()
    assert (fleet.missing, fleet.workloads) == (None, before.workloads)


def test_a_directory_that_is_emptied_takes_nothing_with_it(place: Place) -> None:
    place.remove("a.yaml", "b.yaml", "team/c.yaml")
    place.write("readme.md", "")
    for _ in range(3):
        fleet = place.look(after=5)
        assert names(fleet) == ["a", "b", "c"]
        assert "holds no *.yaml file" in str(fleet.missing)
    place.write("a.yaml", model("a"))
    place.look()
    fleet = place.wait(1.1)
    assert (names(fleet), fleet.missing) == (["a"], None)


def test_files_removed_one_by_one_to_the_last_are_held_at_the_last(place: Place) -> None:
    for path in ("a.yaml", "b.yaml", "team/c.yaml"):
        place.remove(path)
        fleet = place.look(path)
    assert "holds no *.yaml file" in str(fleet.missing)
    assert names(place.wait(10)) == ["a", "b", "c"]


def test_a_file_in_place_of_the_directory_takes_nothing_with_it(place: Place) -> None:
    shutil.rmtree(place.root)
    place.root.write_text(model("a"))
    fleet = place.look()
    assert names(fleet) == ["a", "b", "c"]
    assert "not a directory" in str(fleet.missing)


def test_a_directory_that_was_never_there_is_missing(tmp_path: Path) -> None:
    for root in (tmp_path / "nowhere", tmp_path / "empty"):
        if root.name == "empty":
            root.mkdir()
        fleet = load_once(str(root))
        assert (names(fleet), fleet.missing is not None) == ([], True)


def test_another_directory_in_its_place_is_read_whole(place: Place) -> None:
    other = place.root.parent / "other"
    other.mkdir()
    (other / "n.yaml").write_text(model("n"))
    os.rename(place.root, place.root.parent / "old")
    os.rename(other, place.root)
    assert names(place.look("unrelated.yaml")) == ["a", "b", "c", "n"]
    assert names(place.wait(1.1)) == ["n"]


def test_a_loader_is_cheap_when_nothing_is_heard_of(place: Place) -> None:
    looks: list[int] = []
    loader = Loader(str(place.root), clock=lambda: float(len(looks)))
    first = loader.load()
    shutil.rmtree(place.root)
    assert loader.load() is first
