"""What people call the axes of an input."""

_NAMES = {4: ("", "", "height", "width"), 5: ("", "", "depth", "height", "width")}


def axis_name(ndim: int, axis: int) -> str:
    """What people call an axis of an input: `batch`; `height` and `width` of images; else `length`.

    Example:
        >>> axis_name(4, 2), axis_name(2, 1), axis_name(2, 0)
        ('height', 'length', 'batch')
    """
    if axis == 0:
        return "batch"
    return (_NAMES[ndim][axis] if ndim in _NAMES else "") or "length"
