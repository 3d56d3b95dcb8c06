"""A participant in Python: members get points for their orders, and lose them again when the order is undone."""

NAME = "loyalty"
