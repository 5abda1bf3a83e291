"""The classes of the authors' library, called as theirs are."""
