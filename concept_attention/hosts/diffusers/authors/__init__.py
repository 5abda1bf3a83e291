"""Classes with the interfaces of the authors' own, for code that was written for those."""
