"""Who is cordoned, and for how long, reading by reading; time is an argument."""

from dataclasses import replace

from reconciler.model.observation import Gpu, Unknown
from reconciler.observe.cordons import Cordons
from reconciler.observe.sighting import Sighting

A, B = (Sighting(gpu=Gpu(index=n, uuid=f"GPU-{n}", model="m", memory=10, used=1)) for n in (0, 1))
LOST = replace(A, trouble="lost")
FAILS = replace(A, unsure="gpu 0 is silent")


def told(found):
    return found.reason if isinstance(found, Unknown) else [gpu.cordoned for gpu in found]


def test_a_card_is_taken_back_after_a_while_and_each_trouble_begins_it_anew():
    cordons = Cordons(quiet=30.0)
    again = "lost (it answers again, and is taken back once it has been well for 30 s)"
    assert told(cordons.judge([A, B], 0.0)) == ["", ""]
    assert told(cordons.judge([LOST, B], 2.0)) == ["lost", ""]
    assert told(cordons.judge([A, B], 31.0)) == [again, ""]
    assert told(cordons.judge([LOST, B], 31.5)) == ["lost", ""]
    assert told(cordons.judge([A, B], 61.0)) == [again, ""]
    assert told(cordons.judge([A, B], 61.5)) == ["", ""]


def test_what_may_pass_is_unknown_for_two_readings_then_one_card_s_own():
    cordons = Cordons()
    assert told(cordons.judge([FAILS, B], 0.0)) == "gpu 0 is silent"
    assert told(cordons.judge([A, B], 1.0)) == ["", ""]
    assert told(cordons.judge([FAILS, B], 2.0)) == "gpu 0 is silent"
    assert told(cordons.judge([FAILS, B], 3.0)) == "gpu 0 is silent"
    assert told(cordons.judge([FAILS, B], 4.0)) == ["gpu 0 is silent, again and again", ""]
    assert told(cordons.judge([A, B], 5.0))[0].startswith("gpu 0 is silent, again and again (it answers")
    assert told(cordons.judge([FAILS, B], 6.0))[0] == "gpu 0 is silent, again and again", "it is not believed again"


def test_a_card_that_is_listed_no_more_is_told_of_for_ten_minutes():
    cordons = Cordons()
    cordons.judge([A, B], 0.0)
    first = cordons.judge([B], 599.0)
    assert told(first) == [
        "its driver does not list it any more; look for it with `nvidia-smi -L` and in the kernel's log",
        "",
    ]
    assert told(cordons.judge([B], 601.0)) == [""]
    assert told(cordons.judge([A, B], 602.0)) == ["", ""], "a new card"
