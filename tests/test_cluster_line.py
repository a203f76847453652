"""The line of many machines, without any: order, what dies, what is bounded, where workers are."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexes import Record
from retrieval.cluster import connection, line, places
from retrieval.cluster.line import Everywhere
from retrieval.datatypes import Item
from retrieval.errors import BadRequest
from retrieval.indexing.line import Made
from rows import unit


def item(number):
    return Item(f"{number:04d}", f"{number:04d}.jpg", lambda: b"")


class FakeStaff:
    """Workers who finish in an order that is drawn, and die when it is drawn, or over certain items."""

    def __init__(self, workers, draws, deadly=()):
        self.workers, self.draws, self.deadly = workers, draws, set(deadly)
        self.held, self.most, self.made = deque(), 0, []

    def __len__(self):
        return self.workers

    def give(self, block):
        if len(self.held) >= 2 * self.workers:
            return False
        self.held.append(block)
        return True

    def hear(self):
        if not self.held:
            return
        which, dies = self.draws.popleft() if self.draws else (0, False)
        self.held.rotate(-(which % len(self.held)))
        block = self.held.popleft()
        if dies or self.deadly & {one.id for one in block.items}:
            block.deaths += 1
        else:
            names = [one.id for one in block.items]
            self.made += names
            block.made = Made(names, unit(np.ones((len(names), 4))), [Record(name) for name in names], [])
        yield block

    def look(self):
        self.most = max(self.most, len(self.held))


@given(
    st.integers(1, 40), st.integers(1, 3), st.integers(1, 5),
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from([False, False, False, True])), max_size=60),
)  # fmt: skip
def test_every_item_comes_once_and_in_its_order_whoever_dies(count, workers, together, draws):
    staff = FakeStaff(workers, deque(draws))
    items = [item(number) for number in range(count)]
    made = list(Everywhere(staff, together)(items))
    skipped = {uri for one in made for uri, _ in one.skipped}
    given = [name for one in made for name in one.ids]
    assert given == sorted(set(given))
    assert set(given) | {uri[:4] for uri in skipped} == {one.id for one in items}
    if sum(dies for _, dies in draws) < line.DEATHS:
        assert not skipped


@pytest.mark.parametrize("deadly", [[0], [17], [39], [3, 30]])
def test_a_picture_that_kills_workers_is_skipped_alone(deadly):
    staff = FakeStaff(2, deque(), {f"{number:04d}" for number in deadly})
    made = list(Everywhere(staff, 4)([item(number) for number in range(40)]))
    assert [one for part in made for one in part.skipped] == [(f"{n:04d}.jpg", line.FATAL) for n in deadly]
    assert [name for part in made for name in part.ids] == [f"{n:04d}" for n in range(40) if n not in deadly]


def test_blocks_are_whole_batches_and_no_more_are_begun_than_can_wait(monkeypatch):
    monkeypatch.setattr(line, "PICTURES", 8)
    staff = FakeStaff(2, deque())
    begun = 0
    for part in Everywhere(staff, 4)([item(number) for number in range(200)]):
        assert len(part.ids) == 8
        begun += 1
        assert len(staff.made) // 8 + len(staff.held) - begun <= line.AHEAD * 2
    assert begun == 25


def test_blocks_given_late_hold_up_no_more_than_the_bound():
    """The first block never comes while all others do: they stop after AHEAD for each worker."""
    staff = FakeStaff(1, deque())
    made, rounds, others = [], [], []

    def hear():
        rounds.append(len(staff.held))
        if len(rounds) > 100:
            raise TimeoutError
        if len(staff.held) > 1:
            block = staff.held.pop()
            others.append(block)
            block.made = Made([one.id for one in block.items], np.ones((0, 4), np.float32), [], [])
            yield block

    staff.hear = hear
    with pytest.raises(TimeoutError):
        made += list(Everywhere(staff, 1)([item(number) for number in range(10_000)]))
    assert made == []
    assert len(others) == line.AHEAD - 1


def test_places_by_hand():
    def of(device="auto", **resources):
        return [(one.cores, one.device) for one in places.of_machine("n", resources, device)]

    assert of(CPU=2.0) == [(2, "cpu")]
    assert of(CPU=16.0) == [(4, "cpu")] * 4
    assert of(CPU=6.0) == [(6, "cpu")]
    assert of(CPU=0.0) == of() == []
    assert of(CPU=32.0, GPU=8.0) == [(4, "cuda")] * 8
    assert of(CPU=96.0, GPU=2.0) == [(8, "cuda")] * 2
    assert of("cpu", CPU=8.0, GPU=2.0) == [(4, "cpu")] * 2
    assert of("cuda", CPU=8.0) == []


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:", ":1", "head:0", "head:65536", "http://a:1"])
def test_what_is_no_address_is_said_at_once(address):
    pytest.importorskip("ray")
    with (
        pytest.raises(BadRequest, match="is no address of a cluster: write local, auto"),
        connection.connected(address),
    ):
        pass


def test_a_head_that_is_not_there_is_said_in_seconds(unused_port):
    pytest.importorskip("ray")
    says = "no Ray cluster answers at .* start one with `ray start --head`"
    with pytest.raises(BadRequest, match=says), connection.connected(f"127.0.0.1:{unused_port}"):
        pass


def test_a_cluster_that_was_looked_for_leaves_this_machine_s_own_to_be_had():
    """Ray keeps how it authenticates from when it was imported: what is said later has to reach it too."""
    pytest.importorskip("ray")
    connection._show_token()
    with connection.connected("local") as ray:
        assert ray.cluster_resources()["CPU"] >= 1


def test_without_ray_one_line_says_how_it_is_had(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(BadRequest, match=r"pip install 'mmr-retrieval\[cluster\]'$"), connection.connected("local"):
        pass


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@pytest.mark.parametrize(
    "error, says",
    [
        (RuntimeError("Version mismatch: The cluster was started with:\n    Ray: 2.50.0\n    Python: 3.12.1"),
         r"^the cluster at auto runs other versions than this machine \(Version mismatch: .*Ray: 2\.50\.0 .*: install"),
        (ConnectionError("Could not find any running Ray instance"), "^no Ray cluster answers at auto: start one"),
        (RuntimeError("no space\nleft"), r"^Ray could not be started \(no space\): see `ray status`"),
    ],
)  # fmt: skip
def test_what_ray_says_becomes_one_line_with_the_next_thing_to_type(error, says):
    with pytest.raises(BadRequest, match=says) as told:
        raise connection._explained("auto", error)
    assert "\n" not in str(told.value)


def test_that_text_is_to_be_read_reaches_every_block():
    """Also the halves of one that killed workers."""
    asked = []

    class Noting(FakeStaff):
        def give(self, block):
            asked.append(block.ocr)
            return super().give(block)

    for wanted in (True, False):
        asked.clear()
        list(Everywhere(Noting(2, deque(), {"0003"}), 4)([item(number) for number in range(20)], wanted))
        assert set(asked) == {wanted}
        assert len(asked) > 5
