"""The search for deadly documents, against a shard whose deadly documents are known."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.run.isolation import CONFIRMATIONS, FAN_OUT, MOST_POISON, PoisonSearch


def search(num_rows: int, deadly: set[int]) -> tuple[PoisonSearch, int]:
    """Carry a search out; the search and how many engines died."""
    found, deaths = PoisonSearch(num_rows), 0
    while not found.is_over and not found.is_hopeless:
        for rows in found.take():
            if deadly & set(range(*rows)):
                deaths += 1
                found.died(rows)
            else:
                found.survived(rows)
    return found, deaths


@given(st.data())
def test_exactly_the_deadly_documents_are_found(data):
    num_rows = data.draw(st.integers(1, 3000))
    deadly = data.draw(st.sets(st.integers(0, num_rows - 1), max_size=MOST_POISON))

    found, _ = search(num_rows, deadly)

    assert found.poison == deadly
    assert found.is_over
    assert not found.is_hopeless


def test_few_engines_die_for_one_document():
    _, deaths = search(FAN_OUT**4, {1234})
    assert deaths == 3 + CONFIRMATIONS  # one a level above the last


def test_a_document_that_killed_once_is_not_blamed():
    found = PoisonSearch(1)
    [rows] = found.take()
    found.died(rows)
    assert found.take() == [rows]
    found.survived(rows)
    assert found.is_over
    assert found.poison == set()


def test_a_shard_in_which_everything_kills_is_given_up():
    found, _ = search(500, set(range(500)))
    assert found.is_hopeless
