"""Photos that EXIF data turn in viewers: whether their labels count pixels as stored or as viewers show them."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..images import Header

#: What a check says of them; the first cannot be trained on.
MIXED = 'photo labelled as stored among others turned by EXIF'
AS_STORED = 'photo labelled as stored, not as EXIF turns it'
_UNTOLD = 'photo turned by EXIF data whose labels do not tell which way they count; taken as {}'


@dataclass
class TurnedPhotos:
    """The names of the photos that EXIF data turn, by the way in which their labels count pixels."""

    stored: list[str] = field(default_factory=list)
    upright: list[str] = field(default_factory=list)
    unsized: list[str] = field(default_factory=list)  # of labels without a size, which count as viewers show them
    untold: list[str] = field(default_factory=list)  # square, turned by 180 degrees or mirrored

    def add(self, name: str, header: Header, size: object) -> None:
        """Add a photo, if it is a turned one.

        Args:
            name: Its name, for messages.
            header: Its sizes.
            size: Width and height that its labels say; anything else where they say none.
        """
        if not header.turned:
            return
        told = header.stored != header.upright
        if told and size == header.stored:
            self.stored.append(name)
        elif told:
            (self.upright if size == header.upright else self.unsized).append(name)
        else:
            self.untold.append(name)

    @property
    def as_stored(self) -> bool | None:
        """Whether all labels count as stored; None where no photo is turned. Labels that do not tell count as viewers show the photo."""
        return bool(self.stored) if self.stored or self.upright or self.unsized or self.untold else None

    @property
    def mixed(self) -> bool:
        """Whether no one way of reading fits all."""
        return bool(self.stored and (self.upright or self.unsized))

    @property
    def untold_as_stored(self) -> bool:
        """Whether those of which nothing is known are taken as stored: where all others are."""
        return bool(self.stored) and not self.mixed

    def takes_as_stored(self, header: Header, size: object) -> bool:
        """Whether the labels of a photo are taken to count pixels as stored; for the arguments see :meth:`add`."""
        if not header.turned:
            return False
        if header.stored != header.upright and size in (header.stored, header.upright):
            return size == header.stored
        return self.untold_as_stored

    def faults(self) -> list[tuple[str, str]]:
        """Kind and name of each that no one way of reading fits."""
        return [(MIXED, name) for name in self.stored] if self.mixed else []

    def remarks(self, by_config: bool = False) -> list[tuple[str, str]]:
        """Kind and name of each whose labels count as stored, or do not tell.

        Args:
            by_config: A config says how photos are read, whatever the others are.
        """
        stored = [] if self.mixed else [(AS_STORED, name) for name in self.stored]
        return [*stored, *self.untold_remarks(by_config)]

    def untold_remarks(self, by_config: bool = False) -> list[tuple[str, str]]:
        """Kind and name of each whose labels do not tell; ``by_config`` as in :meth:`remarks`."""
        way = 'stored, like the others' if self.untold_as_stored else 'viewers show it'
        kind = _UNTOLD.format('the config reads it' if by_config else way)
        return [(kind, name) for name in (*self.unsized, *self.untold)]
