# Recipes for working on fluxkit, inside an activated virtual environment. Each calls a command that the README names.

set positional-arguments

# List the recipes.
help:
    @{{ just_executable() }} --list

# Tune twice, compare, and write the report: the laptop study, offline.
demo:
    fluxkit demo

# Write the report of a study or run folder beside its results.
report study:
    fluxkit report "$1" -o "$1/index.html"

# Install what the tests need and run them.
test:
    pip install '.[engine,test]' && pytest

# Lint, formatting and types.
check:
    ruff check
    ruff format --check
    mypy

# Write the pinned files of tests/golden/ anew; look at the difference before committing it.
golden:
    pytest --write-golden

# Print the JSON Schemas of a spec and of a result.
schema:
    fluxkit schema spec
    fluxkit schema result

# Make the embedded nano pipeline again by its recipe: minutes on two cores.
nano:
    python -m fluxkit.engine.nano
