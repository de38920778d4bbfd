"""The state machine of one camera: small while it moves, growing when it rests, broken off by the next move."""

from itertools import pairwise

import pytest

from taichi_nerf.models.growing import GROWTH, size_of
from taichi_nerf.viewer.look import Look
from taichi_nerf.viewer.pace import MOVING_SECONDS, REST, Speed, Watcher

WINDOW = (800, 400)


def look(x=0.0, window=WINDOW):
    return Look(pose=((1.0, 0.0, 0.0, x), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 1.0, 2.0)), fov=0.7, window=window)


def speed(pixels_per_second=100_000):
    found = Speed()
    found.learn(pixels_per_second, 1.0)
    return found


@pytest.fixture
def watcher():
    watcher = Watcher(max_side=800)
    watcher.go(look(), 0.0)
    return watcher


def test_nothing_is_due_before_anybody_looks():
    assert Watcher(max_side=800).next(0.0, speed()) is None
    assert Watcher(max_side=800).wakes_in(0.0) is None


def test_a_moving_camera_gets_as_many_pixels_as_the_time_of_a_frame_has_room_for(watcher):
    order = watcher.next(0.05, speed(100_000))
    assert order.passing and not order.full
    assert order.pixels == pytest.approx(100_000 * MOVING_SECONDS, rel=0.05)
    assert order.size[0] / order.size[1] == pytest.approx(2, rel=0.05)


def test_a_camera_that_rests_gets_pictures_that_grow_up_to_the_window(watcher):
    sizes, now = [], 0.0
    while (order := watcher.next(now, speed(20_000))) is not None:
        watcher.done(order)
        sizes.append(order.pixels)
        now = REST
    assert all(b <= 1.05 * GROWTH * a or b == 800 * 400 for a, b in pairwise(sizes))
    assert sizes == sorted(sizes) and sizes[-1] == 800 * 400
    assert watcher.wakes_in(now) is None


def test_nothing_grows_before_the_camera_has_rested(watcher):
    watcher.done(watcher.next(0.0, speed()))
    assert watcher.next(0.9 * REST, speed()) is None
    assert watcher.wakes_in(0.05) == pytest.approx(REST - 0.05)
    assert not watcher.next(REST, speed()).passing


def test_quality_is_lower_while_the_camera_moves(watcher):
    passing = watcher.next(0.0, speed())
    watcher.done(passing)
    growing = watcher.next(REST, speed())
    watcher.done(growing)
    assert passing.quality < growing.quality < watcher.next(REST, speed(10_000_000)).quality


def test_a_device_that_has_the_whole_window_in_time_shows_it_while_it_moves_and_once_more_at_rest(watcher):
    order = watcher.next(0.0, speed(1e9))
    assert order.passing and order.size == WINDOW
    watcher.done(order)
    again = watcher.next(REST, speed(1e9))
    assert again.size == WINDOW and again.quality > order.quality
    watcher.done(again)
    assert watcher.next(REST, speed(1e9)) is None


def test_a_move_breaks_off_what_grows_but_not_what_passes(watcher):
    passing = watcher.next(0.0, speed())
    watcher.go(look(0.1), 0.05)
    assert not watcher.unwanted(passing, 0.05)  # else nothing would be shown as long as it moves
    assert watcher.unwanted(passing, 1.0)  # it took ten times as long as it should
    watcher.done(watcher.next(0.05, speed()))
    growing = watcher.next(1.0, speed())
    assert not watcher.unwanted(growing, 5.0)
    watcher.go(look(0.2), 1.1)
    assert watcher.unwanted(growing, 0.1)


def test_the_same_look_is_no_move(watcher):
    watcher.done(watcher.next(0.0, speed()))
    watcher.go(look(), 0.1)
    assert watcher.next(REST, speed()) is not None


def test_what_has_changed_is_shown_whole_at_once_when_it_was_whole(watcher):
    for now in (0.0, REST, REST, REST, REST):
        if (order := watcher.next(now, speed())) is not None:
            watcher.done(order)
    assert watcher.next(REST, speed()) is None
    watcher.outdated()
    order = watcher.next(REST, speed())
    assert order.full and watcher.wakes_in(REST) == 0
    watcher.done(order)
    assert watcher.next(REST, speed()) is None


def finish(watcher, finer):
    """Shows all that is due to who rests, and returns it."""
    shown = []
    while (order := watcher.next(REST, speed())) is not None:
        watcher.done(order, finer)
        shown.append(order)
    return shown


def test_where_more_rays_are_finer_the_whole_picture_is_followed_by_one_with_them(watcher):
    *_, whole, last = finish(watcher, finer=True)
    assert whole.full and not whole.supersample
    assert last.supersample and (last.size, last.quality) == (whole.size, whole.quality)
    assert watcher.wakes_in(REST) is None
    watcher.outdated()
    assert [order.supersample for order in finish(watcher, finer=True)] == [False, True]
    watcher.shown_anew()
    assert sum(order.supersample for order in finish(watcher, finer=True)) == 1
    watcher.shown_anew()
    assert not any(order.supersample for order in finish(watcher, finer=False))


def test_a_move_takes_back_that_a_picture_with_more_rays_is_due(watcher):
    while not (order := watcher.next(REST, speed())).full:
        watcher.done(order, True)
    watcher.done(order, True)
    last = watcher.next(REST, speed())
    assert last.supersample and watcher.wakes_in(REST) == 0
    watcher.go(look(0.1), REST)
    assert watcher.unwanted(last, 0.01) and watcher.next(REST, speed()).passing


def test_no_side_is_longer_than_the_bound():
    watcher = Watcher(max_side=128)
    watcher.go(look(), 0.0)
    assert watcher.next(REST, speed(1e9)).size == (128, 64)


def test_an_unknown_speed_begins_small(watcher):
    assert watcher.next(0.0, Speed()).pixels < 5000


@pytest.mark.parametrize("aspect", [0.01, 1, 100])
def test_no_picture_is_empty(aspect):
    assert min(size_of(1, aspect)) >= 1
