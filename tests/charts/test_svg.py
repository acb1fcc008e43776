"""`fluxkit.charts.svg`: configurations and phases can be told apart."""

import subprocess
import sys

from fluxkit.charts.svg import COLOURS, DARK_COLOURS, PHASE_COLOURS, _themed_tag, style_of
from fluxkit.record.phase_seconds import PARTS


def test_no_two_configurations_look_alike_and_no_phase_looks_like_one():
    """64 configurations differ in colour, marker or dash, and phases have colours of their own."""
    assert len({style_of(number)[:2] for number in range(64)}) == 64
    assert len({style_of(number)[::2] for number in range(64)}) == 64
    assert len(PHASE_COLOURS) == len(set(PHASE_COLOURS)) == len(PARTS) + 1
    assert not set(map(str.lower, PHASE_COLOURS)) & set(map(str.lower, COLOURS))


def test_at_twenty_configurations_no_colour_and_no_shape_repeats():
    """Each of twenty configurations has a colour and a marker of its own, on a light page and on a dark one."""
    styles = [style_of(number) for number in range(20)]
    assert len({colour for colour, _, _ in styles}) == len({shape for _, shape, _ in styles}) == 20
    assert len(set(COLOURS)) == len(set(DARK_COLOURS)) == len(COLOURS)


def test_what_a_mark_belongs_to_is_apart_from_its_name():
    """A mark tells its configuration to scripts and its words to listeners; one without words tells nothing."""
    bare = '<path aria-label="3|" role="graphics-symbol" aria-roledescription="point" d="M0,0"/>'
    named = bare.replace("3|", "3|Machine A: 2 dB")
    assert _themed_tag(bare, "k") == '<path data-configuration="3" aria-hidden="true" d="M0,0"/>'
    assert ' data-configuration="3" aria-label="Machine A: 2 dB" role="graphics-symbol"' in _themed_tag(named, "k")


def test_charts_begin_without_a_grammar_of_web_addresses():
    """Importing the chart library does not parse it, which takes seconds; whoever wants it later has it."""
    code = (
        "import sys; from fluxkit.charts.svg import GRAMMAR, unchecked_charts; unchecked_charts(); "
        "assert 'altair' in sys.modules and GRAMMAR not in sys.modules; __import__(GRAMMAR)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
