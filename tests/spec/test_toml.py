"""Presets and spec files; every mistake is one sentence and exit code 2."""

from __future__ import annotations

import pytest

from fluxkit.errors import ExitCode, UsageError
from fluxkit.spec.toml import load_spec, preset_names, preset_text, spec_toml

HEAD = 'schema = "fluxkit.spec/2"\nname = "mine"\n'
NANO_PRESETS = ["nano-laptop-cpu", "nano-laptop-cpu-bf16", "nano-multi-gpu", "nano-single-gpu", "nano-two-process"]


@pytest.fixture
def refusal(tmp_path):
    """Gives the sentence with which a spec of this text is refused."""

    def refuse(text, *overrides):
        file = tmp_path / "mine.toml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return refused(str(file), overrides)

    return refuse


def refused(source, overrides=()):
    with pytest.raises(UsageError) as caught:
        load_spec(source, overrides)
    assert caught.value.exit_code == ExitCode.USAGE
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


def test_every_preset_loads_under_its_own_name():
    """The name inside a preset is the name of its file."""
    assert [load_spec(name).name for name in preset_names()] == preset_names()


def test_the_nano_presets_are_comparable():
    """Every nano preset has the same workload, so that their results can stand in one table."""
    assert set(NANO_PRESETS) <= set(preset_names())
    assert len({load_spec(name).workload_sha256() for name in NANO_PRESETS}) == 1


def test_the_nano_presets_differ_in_execution():
    """No two nano presets ask for the same run."""
    executions = [load_spec(name).execution for name in NANO_PRESETS]
    assert all(one not in executions[:place] for place, one in enumerate(executions))


def test_a_copied_preset_is_a_spec_file(tmp_path):
    """The text of a preset, saved as a file, is the same spec."""
    file = tmp_path / "mine.toml"
    file.write_text(preset_text("nano-laptop-cpu"))
    assert load_spec(str(file)) == load_spec("nano-laptop-cpu")


def test_a_mistyped_preset_suggests_the_nearest():
    """A preset that does not exist is answered with the one that was probably meant."""
    assert refused("nano-laptop-cpuu") == (
        "There is no preset 'nano-laptop-cpuu' (did you mean nano-laptop-cpu?); fluxkit presets lists them."
    )


def test_a_missing_file_is_named():
    """A file that is not there is named, with what could be given instead."""
    sentence = refused("no/such/spec.toml")
    assert sentence.startswith("no/such/spec.toml cannot be read: No such file or directory.")


def test_a_folder_is_no_spec(tmp_path):
    """A folder in place of a file is refused."""
    assert "cannot be read: Is a directory" in refused(str(tmp_path))


def test_broken_toml_says_where(refusal):
    """TOML that cannot be parsed is refused with line and column."""
    assert "is not valid TOML" in (sentence := refusal(HEAD + "[tune\n"))
    assert "line 3" in sentence


def test_a_picture_is_no_spec(refusal):
    """A file that is not text is refused as such."""
    assert "is not a text file in UTF-8" in refusal(b"\x89PNG\r\n\x1a\n\xff\xfe")


def test_a_huge_file_is_refused_unread(refusal):
    """A file far longer than any spec is not even parsed."""
    assert "larger than" in refusal("#" * 1_000_001)


def test_a_missing_schema_is_asked_for(refusal):
    """A spec must say which version of the format it is in."""
    assert refusal('name = "mine"').endswith('has no schema; begin it with schema = "fluxkit.spec/2".')


def test_another_schema_is_refused(refusal):
    """A spec of a version that this fluxkit does not know is refused."""
    assert "fluxkit.spec/9" in refusal('schema = "fluxkit.spec/9"\nname = "mine"')


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[tune]\nlearning_rat = 1e-4\n", "unknown key tune.learning_rat (did you mean learning_rate?)"),
        ("[tunes]\n", "unknown key tunes (did you mean tune?)"),
        ("[model]\nzzzz = 1\n", "unknown key model.zzzz (allowed: family, weights, path"),
        ('[tune]\niterations = "many"\n', "tune.iterations = 'many': it should be a valid integer"),
        ("[tune]\nseconds = -5.0\n", "tune.seconds = -5.0: it should be greater than 0"),
        ('[execution]\ndevice = "gpu"\n', "execution.device = 'gpu': it should be 'cpu' or 'cuda'"),
        ("[execution]\nprocesses = 3\n", "tune.global_batch_size = 8 is not divisible by execution.processes = 3"),
        ('[execution]\nmicro_batch_size = "some"\n', "execution.micro_batch_size = 'some'"),
        ("tune = 3\n", "tune = 3: it should be a table, [tune]"),
        ("[[execution]]\nthreads = 1\n", "it should be a table, [execution]"),
        ("[tune]\nseconds = 2024-02-30T\n", "is not valid TOML"),
        ("[tune]\nseconds = 2024-02-28\n", "tune.seconds = 2024-02-28: it should be a valid number"),
        ("[tune]\nseconds = 07:32:00\n", "tune.seconds = 07:32:00: it should be a valid number"),
        (f"seed = {'7' * 6000}\n", "is not valid TOML: a number has thousands of digits"),
        (f"seed = {'[' * 4000}{']' * 4000}\n", "brackets are nested hundreds deep"),
        ('[data]\nsource = "folder"\npath = " "\n', "data.path is empty; name a file or folder"),
        ('[model]\nassistant_adapter = ""\n', "model.assistant_adapter is empty"),
    ],
    ids=[
        "key",
        "table",
        "far",
        "type",
        "negative",
        "choice",
        "indivisible",
        "auto",
        "no-table",
        "tables",
        "no-date",
        "date",
        "time",
        "digits",
        "deep",
        "no-path",
        "no-adapter",
    ],
)
def test_a_wrong_value_is_named_with_its_place(refusal, text, words):
    """A mistake is answered with the key's path, what was given and what is allowed."""
    assert words in refusal(HEAD + text)


def test_two_mistakes_are_told_at_once(refusal):
    """Nobody has to fix a spec one mistake at a time."""
    sentence = refusal(HEAD + "[tune]\nseconds = -1.0\niterations = 0\n")
    assert "tune.seconds" in sentence
    assert "tune.iterations" in sentence


def test_a_name_is_required(refusal):
    """A spec without a name is refused."""
    assert "name is missing" in refusal('schema = "fluxkit.spec/2"')


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("tune.seconds=5.0", lambda spec: spec.tune.seconds == 5.0),
        ("name=other", lambda spec: spec.name == "other"),
        ('hardware.label="My desk, 2 = two cores"', lambda spec: spec.hardware.label == "My desk, 2 = two cores"),
        ("execution.micro_batch_size=auto", lambda spec: spec.execution.micro_batch_size == "auto"),
    ],
)
def test_set_overrides_one_value(override, read):
    """--set reads its value as TOML, and as plain text where it is none."""
    assert read(load_spec("nano-laptop-cpu", [override]))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("tune.seconds", "write it as table.key=value"),
        ("=5", "write it as table.key=value"),
        ("name.first=1", "name is a value, not a table"),
        ("tune.secnds=5.0", "did you mean seconds?"),
        ("tune.seconds=soon", "tune.seconds = 'soon': it should be a valid number"),
        ("tune.seconds=5.0\ntune.iterations=3", "give a --set for each value"),
        (f"seed={'8' * 5000}", "a number has thousands of digits"),
        ("data.path=", "data.path is empty"),
        ("data.path=~nobody-here/x", "is no path that can be followed: Could not determine home directory."),
    ],
)
def test_a_wrong_override_is_refused(override, words):
    """A mistake in --set is answered like one in a file."""
    assert words in refused("nano-laptop-cpu", [override])


def test_a_strangers_text_cannot_steer_the_terminal(refusal):
    """Control characters of a spec never reach the terminal."""
    assert "\x1b" not in refusal(HEAD + '[execution]\ndevice = "\\u001b[2J"\n')


def test_random_weights_replace_the_source_that_a_preset_names():
    """One override suffices: repository and revision of the file go with the weights they belong to."""
    spec = load_spec("schnell-single-gpu", ["model.weights=random"])
    assert (spec.model.weights, spec.model.repo, spec.model.revision) == ("random", None, None)
    assert spec.tune.method == "lora"
    assert spec.model.can_draw is False


def test_random_weights_with_a_place_of_weights_are_refused(refusal):
    """What a file or two overrides say together is not thrown away: it is a contradiction."""
    words = "path and repo belong to pretrained weights"
    assert words in refused("schnell-single-gpu", ["model.weights=random", "model.path=/models"])
    assert words in refusal(HEAD + '[model]\nfamily = "schnell"\nweights = "random"\npath = "x"\n')


def test_quality_asked_of_random_weights_is_refused():
    """An override of how quality is measured asks for it; the length of captions is also speed's."""
    sentence = refused("schnell-laptop-cpu", ["model.weights=random", "evaluate.sigmas=4"])
    assert sentence.startswith("--set evaluate.sigmas asks for quality, but random weights of schnell have none")
    load_spec("schnell-laptop-cpu", ["model.weights=random", "evaluate.max_sequence_length=128"])


def test_random_nano_still_asks_for_full_tuning():
    """Adapters on random nano weights would have nothing to adapt; on schnell's they are what is measured."""
    assert "leaves adapters nothing to adapt" in refused("nano-laptop-cpu", ["model.weights=random"])


@pytest.mark.parametrize("name", preset_names())
def test_a_spec_written_as_toml_reads_back(tmp_path, name):
    """The TOML of a spec is that spec again, with text that TOML and JSON escape differently."""
    spec = load_spec(name, ['hardware.label=a "b" é'])
    (tmp_path / "again.toml").write_text(spec_toml(spec), "utf-8")
    assert load_spec(str(tmp_path / "again.toml")) == spec


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_spec_may_begin_with_a_byte_order_mark(tmp_path, encoding):
    """What editors and shells of Windows write is the same spec."""
    file = tmp_path / "mine.toml"
    file.write_bytes(preset_text("nano-laptop-cpu").encode(encoding))
    assert load_spec(str(file)) == load_spec("nano-laptop-cpu")


@pytest.mark.parametrize("path", [r"C:\Users\me", r"C:\data\cats", r"D:\temp\new", r"\\server\share", r"C:\xenia"])
def test_a_path_of_windows_in_double_quotes_is_refused_with_how_to_write_it(refusal, path):
    """Whether its backslashes are broken escapes, or escapes that would change the path in silence."""
    sentence = refusal(HEAD + f'[data]\nsource = "folder"\npath = "{path}"\n')
    assert "write C:/… or 'C:\\…'" in sentence
    assert "write C:/… or 'C:\\…'" in refused("nano-laptop-cpu", ["data.source=folder", f'data.path="{path}"'])


def test_a_path_of_windows_in_single_quotes_is_taken_as_it_is(tmp_path):
    """TOML's literal strings have no escapes, and plain text after --set neither."""
    file = tmp_path / "mine.toml"
    file.write_text(preset_text("nano-laptop-cpu").replace('"photos"', "'folder'\npath = 'C:\\new'"))
    assert load_spec(str(file)).data.path.endswith("C:\\new")
    assert load_spec(str(file), ["data.path=D:\\new"]).data.path.endswith("D:\\new")


def test_a_path_that_can_not_be_followed_is_one_sentence(tmp_path, refusal):
    """A loop of links, a user that is not there, NUL, and a name that is too long to be one."""
    (tmp_path / "loop").symlink_to("loop")
    for path in (str(tmp_path / "loop" / "in"), "~nobody-at-all/x", "a\\u0000b"):
        assert "data.path" in refusal(HEAD + f'[data]\nsource = "folder"\npath = "{path}"\n')
    assert "There is no preset" in refused("x" * 300)
    assert "cannot be read" in refused("x" * 300 + ".toml")
