"""Where the page is served: a port that is taken is said, or passed over."""

import socket

import pytest

from taichi_nerf.errors import UserError
from taichi_nerf.viewer import port
from taichi_nerf.viewer.port import address, free_port, is_loopback

HOST = "127.0.0.1"


@pytest.fixture
def taken():
    with socket.socket() as other:
        other.bind((HOST, 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_port_that_is_taken_is_refused_by_number(taken):
    with pytest.raises(UserError, match=f"port {taken} .* is taken"):
        free_port(HOST, taken)


def test_without_a_wish_the_next_free_one_is_found(taken, monkeypatch):
    monkeypatch.setattr(port, "FIRST_PORT", taken)
    assert free_port(HOST, None) > taken
    monkeypatch.setattr(port, "TRIED", 1)
    with pytest.raises(UserError, match="are taken"):
        free_port(HOST, None)


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(UserError, match="no address of this machine"):
        free_port("192.0.2.1", 7007)


def test_what_is_printed_can_be_opened():
    assert address("0.0.0.0", 7007) == "http://127.0.0.1:7007" and address("::1", 7007) == "http://[::1]:7007"
    assert is_loopback("127.0.0.1") and is_loopback("localhost") and not is_loopback("0.0.0.0")
