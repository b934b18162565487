"""What is done once, before the snapshot that each request starts from.

A page of the snapshot that a request writes to is copied, and restored after it; so a request is the quicker the fewer
of them it writes to.
"""

import gc
import sys
import weakref

# Objects that a request may make before the first search for garbage: a few MiB, of which most functions make less.
_COLLECT_AFTER = 50_000

# Free bytes in one piece, which are enough for most requests: the memory need not grow, and what is new lies together.
_ROOM = 1 << 20

# Bytes of what is tried to fit into a hole, the largest first.
_SIZES = (*range(16_384, 1024, -512), *range(1024, 0, -8))

# More holes than this would be no rest of an import.
_MAX_FILLINGS = 1_000_000


def prepare() -> list[bytes]:
    """Does what each request would do again, and leaves the memory without garbage and holes.

    Returns what fills the holes, which must be kept.
    """
    # The bindings make a finalizer for each handle, and the first one of a process imports a module.
    weakref.finalize(prepare, int).detach()
    gc.collect()
    # Elsewhere memory is laid out otherwise, and there is no snapshot.
    fillings = _fill_holes() if sys.platform == "wasi" else []
    # A search for garbage would look at all that has been imported. What a request leaves ends with its instance.
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER)
    return fillings


def _fill_holes() -> list[bytes]:
    """Takes the free pieces between what has been imported, so that a request's objects don't lie scattered there."""
    fillings: list[bytes] = []
    room = bytes(_ROOM)
    for size in _SIZES:
        while len(fillings) < _MAX_FILLINGS and id(piece := bytes(size)) < id(room):
            fillings.append(piece)
    return fillings
