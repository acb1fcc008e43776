"""`fluxkit.charts.ticks`: ticks stand at places of the data."""

from fluxkit.charts.ticks import round_places, ticks


def test_no_tick_lies_beyond_the_data():
    """A tick is one of the places as it is, and the needed ones are always there."""
    places = [0.0, 1.8437, 28.333, 799.6, 1025.6667]
    assert set(ticks(places, 1.8437)) <= set(places)
    assert max(ticks(places, 1.8437)) == 1025.6667
    assert 800.0 in ticks(round_places(1025.7), 28.3, [800.0])
    assert 5000.0 not in ticks([0.0, 5000.0, 10000.0], 50.0)
