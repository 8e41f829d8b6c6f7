"""The search for deadly documents, against a shard whose deadly documents are known."""

from hypothesis import given
from hypothesis import strategies as st

from jobs.run.isolation import CONFIRMATIONS, FAN_OUT, FUTILE_DEATHS, MOST_DEATHS, PoisonSearch


def search(num_rows: int, deadly: set[int], reason: str = "") -> tuple[PoisonSearch, int]:
    """Carry a search out; the search and how many engines died."""
    found, deaths = PoisonSearch(num_rows), 0
    while not found.is_over and not found.is_hopeless:
        for rows in found.take():
            if found.is_over or found.is_hopeless:
                break
            if deadly & set(range(*rows)):
                deaths += 1
                found.died(rows, reason)
            else:
                found.survived(rows)
    return found, deaths


@given(st.data())
def test_exactly_the_deadly_documents_are_found(data):
    num_rows = data.draw(st.integers(1, 3000))
    deadly = data.draw(st.sets(st.integers(0, num_rows - 1), max_size=40))

    found, _ = search(num_rows, deadly)

    assert set(found.poison) == deadly
    assert found.num_doubtful == 0
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
    assert found.poison == {}


def test_a_shard_in_which_everything_kills_is_given_up():
    found, deaths = search(500, set(range(500)), "no kernel")
    assert found.is_hopeless
    assert deaths == FUTILE_DEATHS
    assert found.verdict() == f"{FUTILE_DEATHS} engines died without scoring a document: no kernel"


def test_of_many_deadly_documents_every_sound_one_is_told_apart():
    """More than any limit there was: eighteen of twenty-eight, and a tenth of a thousand."""
    for num_rows, deadly in ((28, set(range(18))), (1000, set(range(0, 1000, 10)))):
        found, deaths = search(num_rows, deadly, "no such id")
        assert set(found.poison) == deadly
        assert deaths <= MOST_DEATHS
        assert found.verdict() == f"{len(deadly)} documents kill the engine: no such id"


def test_what_others_were_found_to_die_of_needs_no_second_death():
    deadly = set(range(18))
    _, silent = search(28, deadly)
    _, explained = search(28, deadly, "no such id")
    assert silent - explained >= len(deadly) - FAN_OUT


def test_a_search_ends_and_what_is_in_doubt_is_not_shown_to_an_engine_again():
    deadly = set(range(0, 4000, 4))
    found, deaths = search(4000, deadly)
    assert deaths == MOST_DEATHS
    assert found.is_over
    assert deadly <= found.poison.keys()
    assert found.num_doubtful > 0
    assert "not tried alone" in found.verdict()
