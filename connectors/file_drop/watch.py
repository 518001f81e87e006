"""File events as a hint. They get lost (overflow, limits, network shares), so nothing depends on them but speed."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Watch:
    """Calls `news` when something arrives in a folder, where the system can tell."""

    def __init__(self, folder: Path, news: Callable[[], None]) -> None:
        self._folder = folder
        self._news = news
        self._observer: Any = None
        self._inode: tuple[int, int] | None = None

    def keep(self) -> None:
        """See to it that the watch works: start it, or start it anew when the folder was replaced or its thread died."""
        try:
            status = self._folder.stat()
        except OSError:
            self.stop()
            return
        inode = (status.st_dev, status.st_ino)
        if self._observer is not None and self._inode == inode and self._is_alive():
            return
        self.stop()
        self._inode = inode
        self._start()

    def stop(self) -> None:
        """End the watch. Idempotent."""
        observer, self._observer = self._observer, None
        if observer is not None:
            # It holds on to renames for half a second, to pair them, and its stop waits for that; nobody else has to.
            threading.Thread(target=observer.stop, name="watch ends", daemon=True).start()

    def _start(self) -> None:
        from watchdog.events import FileClosedEvent, FileCreatedEvent, FileMovedEvent, FileSystemEventHandler  # noqa: PLC0415
        from watchdog.observers import Observer  # noqa: PLC0415 - takes a while, and no other command needs it

        news = self._news

        class Handler(FileSystemEventHandler):
            def on_any_event(self, _event: object) -> None:
                news()  # sets a flag; an exception in here would kill the observer

        observer = Observer()
        with contextlib.suppress(OSError):  # no inotify instances or watches left: the scan finds the files all the same
            observer.schedule(Handler(), str(self._folder), event_filter=[FileCreatedEvent, FileMovedEvent, FileClosedEvent])
            observer.start()
            self._observer = observer

    def _is_alive(self) -> bool:
        return self._observer.is_alive() and all(emitter.is_alive() for emitter in self._observer.emitters)
