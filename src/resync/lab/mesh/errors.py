"""Why the mesh could not do what an experiment asks. The message becomes the record's event."""


class MeshError(Exception):
    """Base of everything here."""


class NothingSelectedError(MeshError):
    """A selector, or the mode's draw, left no pod."""


class SelectorError(MeshError):
    """A selector uses something this mesh does not do, or says it wrongly.

    The experiment's author must change it.
    """


class SpecError(MeshError):
    """A spec that admission accepts but that cannot be carried out."""
