"""The few errors that a caller may want to catch by name."""


class ArtifactError(ValueError):
    """A model folder or dataset folder is not what it claims to be: files absent, keys or shapes wrong."""


class NoRouteError(ValueError):
    """There is no conversion between the two representations asked for."""


class GenerationError(RuntimeError):
    """A model was asked properly and gave no usable motion."""
