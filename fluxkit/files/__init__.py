"""Files written whole, below a folder that a person named, by one at a time; and what need not be computed twice."""
