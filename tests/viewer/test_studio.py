"""Who gets a picture, when, and what breaks it off: with a clock of its own, and without a browser."""

from dataclasses import replace

import numpy as np
import pytest

from taichi_nerf.models.views import BrokenOff
from taichi_nerf.viewer.door import Picture
from taichi_nerf.viewer.look import Shown
from taichi_nerf.viewer.pace import MOVING_SECONDS, REST
from taichi_nerf.viewer.studio import Studio

from .test_pace import WINDOW, look

PIECE = 0.02  # seconds


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class SlowDoor:
    """So many pixels a second, in pieces; `during` is called before each of them."""

    can_crop = has_normals = moves = finer = False

    def __init__(self, clock, pixels_per_second=100_000):
        self.clock, self.pixels_per_second, self.during = clock, pixels_per_second, lambda: None

    def can_be_finer(self, look, shown, size):
        return self.finer

    def picture(self, look, shown, size, stopped, supersample=False):
        end = self.clock.now + (16 if supersample else 1) * size[0] * size[1] / self.pixels_per_second
        while self.clock.now < end:
            self.during()
            if stopped():
                raise BrokenOff
            self.clock.now += min(PIECE, end - self.clock.now + 1e-9)
        return Picture(image=np.zeros((*size[::-1], 3), np.uint8))


class Stage:
    """A studio, and what each of those who look has seen."""

    def __init__(self):
        self.clock = Clock()
        self.door = SlowDoor(self.clock)
        self.studio = Studio(self.door, Shown(), max_side=800, moments=self.clock)
        self.seen = {}

    def enter(self, who):
        self.seen[who] = []
        self.studio.enter(who, lambda picture, order: self.seen[who].append((self.clock.now, order)))
        self.studio.go(who, look())

    def serve_until(self, end):
        """Seconds."""
        while self.clock.now < end:
            if not self.studio.serve():
                self.clock.now += 0.01

    def serve_until_all_is_shown(self):
        for _ in range(1000):
            if not self.studio.serve():
                if all(orders and orders[-1][1].full and not orders[-1][1].passing for orders in self.seen.values()):
                    return
                self.clock.now += 0.01
        raise AssertionError("it never ends")


@pytest.fixture
def stage():
    return Stage()


def test_the_first_picture_comes_at_once_and_the_last_one_is_whole(stage):
    stage.enter("a")
    stage.serve_until_all_is_shown()
    times, orders = zip(*stage.seen["a"])
    assert times[0] < 0.2 and orders[-1].size == WINDOW and not stage.studio.serve()


def test_frames_keep_coming_while_the_camera_moves(stage):
    stage.enter("a")
    stage.studio.serve()
    stage.door.during = lambda: stage.studio.go("a", look(stage.clock.now))
    stage.studio.go("a", look(0.5))
    stage.serve_until(2)
    assert len(stage.seen["a"]) > 0.7 * 2 / MOVING_SECONDS
    assert all(order.passing for _, order in stage.seen["a"])


def test_a_door_that_has_become_slow_gets_smaller_pictures(stage):
    stage.enter("a")
    for _ in range(3):
        stage.studio.serve()
        stage.studio.go("a", look(stage.clock.now))
    stage.door.pixels_per_second = 5000
    stage.door.during = lambda: stage.studio.go("a", look(stage.clock.now))
    stage.studio.go("a", look(0.5))
    stage.serve_until(5)
    assert len(stage.seen["a"]) > 10
    assert stage.seen["a"][-1][1].pixels <= 1500


def test_a_move_breaks_a_growing_picture_off(stage):
    stage.enter("a")
    stage.studio.serve()
    stage.clock.now += REST
    moved = []

    def move_once():
        if not moved:
            moved.append(stage.clock.now)
            stage.studio.go("a", look(1.0))

    stage.door.during = move_once
    assert stage.studio.serve() and len(stage.seen["a"]) == 1  # nothing was shown
    assert stage.clock.now - moved[0] <= PIECE
    stage.studio.serve()
    assert stage.seen["a"][-1][1].look == look(1.0)


def test_another_time_breaks_a_growing_picture_off_as_a_move_does(stage):
    stage.enter("a")
    stage.studio.serve()
    stage.clock.now += REST
    later = replace(look(), time=0.5)
    stage.door.during = lambda: stage.studio.go("a", later)
    assert stage.studio.serve() and len(stage.seen["a"]) == 1  # nothing was shown
    stage.studio.serve()
    assert stage.seen["a"][-1][1].look == later and stage.seen["a"][-1][1].passing


def test_two_who_look_are_both_served_and_a_move_of_one_goes_before_the_rest_of_the_other(stage):
    stage.enter("a")
    stage.enter("b")
    stage.serve_until_all_is_shown()
    stage.studio.outdated()
    stage.door.during = lambda: stage.studio.go("b", look(stage.clock.now)) if stage.clock.now < 30 else None
    before = {who: len(orders) for who, orders in stage.seen.items()}
    stage.clock.now = 29.5
    for _ in range(4):
        stage.studio.serve()
    assert len(stage.seen["b"]) >= before["b"] + 3
    stage.door.during = lambda: None
    stage.serve_until_all_is_shown()
    assert len(stage.seen["a"]) > before["a"]


def test_a_picture_with_more_rays_comes_last_and_gives_way_to_all_others(stage):
    stage.door.finer = True
    stage.enter("a")
    while not (stage.seen["a"] and stage.seen["a"][-1][1].full):
        stage.serve_until(stage.clock.now + 0.01)
    stage.door.during = lambda: None if "b" in stage.seen else stage.enter("b")
    stage.serve_until(stage.clock.now + PIECE)
    assert stage.seen["b"] and not stage.seen["a"][-1][1].supersample
    stage.serve_until(200)
    assert [[order.supersample for _, order in orders].count(True) for orders in stage.seen.values()] == [1, 1]
    others = [n for n, (_, order) in enumerate(stage.seen["b"]) if not order.supersample]
    first = min(began for orders in stage.seen.values() for began, order in orders if order.supersample)
    assert stage.seen["b"][others[-1]][0] < first
    stage.studio.go("a", look(0.1))
    stage.studio.serve()
    assert stage.seen["a"][-1][1].pixels > 0.9 * stage.door.pixels_per_second * MOVING_SECONDS  # no slower than before


def test_a_picture_with_more_rays_does_not_keep_a_model_that_has_changed_waiting(stage):
    stage.door.finer = True
    stage.enter("a")
    stage.serve_until_all_is_shown()
    began, whole = stage.clock.now, stage.seen["a"][-1][1]
    stage.studio.changing = lambda: stage.clock.now > began + 1
    stage.studio.serve()
    assert stage.clock.now <= began + 1 + 2 * PIECE and stage.seen["a"][-1][1] == whole
    stage.studio.changing = lambda: False  # it was loaded
    stage.studio.outdated()
    stage.serve_until(began + 100)
    assert [order.supersample for _, order in stage.seen["a"][-2:]] == [False, True]


def test_who_vanishes_in_the_middle_of_a_picture_gets_none_and_hinders_nobody(stage):
    stage.enter("a")
    stage.enter("b")
    stage.door.during = lambda: stage.studio.leave("a")
    for _ in range(3):
        stage.studio.serve()
    assert not stage.seen.pop("a")
    stage.door.during = lambda: None
    stage.serve_until_all_is_shown()
    stage.studio.go("a", look(5.0))  # a message that was still under way
    assert not stage.studio.serve()
    stage.studio.leave("b")
    assert not stage.studio.attended


def test_who_comes_back_begins_anew(stage):
    stage.enter("a")
    stage.serve_until_all_is_shown()
    stage.studio.leave("a")
    stage.enter("a")
    stage.serve_until_all_is_shown()
    assert stage.seen["a"][0][1].pixels < stage.seen["a"][-1][1].pixels


def test_another_thing_to_show_is_shown_without_a_move(stage):
    stage.enter("a")
    stage.serve_until_all_is_shown()
    count = len(stage.seen["a"])
    stage.studio.show(Shown(what="depth"))
    stage.serve_until_all_is_shown()
    stage.studio.bound(200)
    stage.serve_until_all_is_shown()
    assert len(stage.seen["a"]) > count + 1 and max(stage.seen["a"][-1][1].size) == 200


def test_what_is_left_for_idle_moments_waits_for_them(stage):
    done = []
    stage.studio.idle = lambda: not done.append(stage.clock.now) and len(done) < 3
    stage.enter("a")
    stage.studio.serve()
    assert not done and stage.seen["a"]
    stage.studio.serve()
    assert len(done) == 1
