"""The page finds a port: the one that was asked for, or the next free one when nobody asked."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

import vitrine
from workers.asking import plan_questions


@pytest.fixture
def taken() -> socket.socket:
    holder = socket.socket()
    holder.bind(("127.0.0.1", 0))
    holder.listen()
    return holder


def test_a_free_port_is_used() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with vitrine._listen("127.0.0.1", port, fall_back=False) as listener:
        assert listener.getsockname() == ("127.0.0.1", port)


def test_a_taken_port_makes_way_for_a_neighbour(taken: socket.socket) -> None:
    port = taken.getsockname()[1]
    with taken, vitrine._listen("127.0.0.1", port, fall_back=True) as listener:
        assert port < listener.getsockname()[1] < port + vitrine.PORTS_TRIED


def test_a_taken_port_that_was_asked_for_is_refused_in_words(taken: socket.socket) -> None:
    port = taken.getsockname()[1]
    with taken, pytest.raises(vitrine.RefusalError, match=str(port)):
        vitrine._listen("127.0.0.1", port, fall_back=False)


@pytest.mark.parametrize(
    ("given", "names"), [(["a,b", "b", " c "], ["a", "b", "c"]), (["a,,"], ["a"]), (["hf-hub:org/x"], ["hf-hub:org/x"])]
)
def test_names_are_given_with_commas_or_by_repeating(given: list[str], names: list[str]) -> None:
    assert vitrine._split(given) == names


def test_a_model_name_becomes_a_folder_name_without_separators() -> None:
    photo, out = Path("heron.jpg"), Path("out")
    (asked,) = plan_questions([photo], models=["hf-hub:org/net"], methods=["counting"], joint=set(), out=out)
    assert asked.folder == out / "hf-hub_org_net--counting"
