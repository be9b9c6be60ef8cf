"""The runner of benchmarks: found by name, printed as one aligned table, missed targets seen."""

import pytest

from tests.bench.__main__ import HEADS, known, line, main, table
from tests.bench.rows import Row


def test_an_unknown_name_is_told_with_those_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nonsense"]) == 2
    told = capsys.readouterr().err
    assert "cannot find benchmark nonsense; there are " in told
    assert "b8_load" in told


def test_a_benchmark_is_known_by_number_by_word_and_by_both() -> None:
    names = known()
    assert names["b8"] == names["load"] == names["b8_load"] == {"b8_load"}


def test_a_number_is_all_that_have_it() -> None:
    names = known()
    assert names["b1"] == {"b1_request"}
    assert names["b12"] == {name for name in names if name.startswith("b12_")} >= {"b12_dashboard"}


def test_rows_are_printed_in_columns_with_ratio_and_verdict() -> None:
    met = Row(bench="B8", measure="cold, s", ours=0.5, peer=1.0, peer_name="other", target="<= 0.8", good=True)
    missed = Row(bench="B8", measure="one, ms", ours=1234.5, peer_name="missing", target="<= 5", good=False)
    text = table([line(met), line(missed)])
    heads, _, first, second = text.split("\n")
    assert [first[heads.index(head) :].split("  ")[0] for head in HEADS] == [
        "B8", "cold, s", "0.5", "1 other", "0.50", "<= 0.8", "good",
    ]  # fmt: skip
    assert second.split() == ["B8", "one,", "ms", "1,234", "missing", "<=", "5", "MISSED"]
