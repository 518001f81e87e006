"""The fixtures that all themes of the capture contract share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from connectors.database.streams.watermark import WatermarkStream
from tests.contract.capture.rig import Rig
from tests.contract.capture.sites import Site

Make = Callable[..., Rig]


class CaptureBase:
    """Subclasses bring `mode` and `site`."""

    @pytest.fixture
    def mode(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def site(self) -> Iterator[Site]:
        raise NotImplementedError

    @pytest.fixture
    def own_site(self) -> Iterator[Site]:
        """A database on a server that nobody else uses."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def jumping_clock(self, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """The test's clock jumps ahead of the server's, which looks as if that had been set back."""
        if mode == "watermark":
            monkeypatch.setattr(WatermarkStream, "_set_back", lambda *_: None)

    @pytest.fixture
    def made(self) -> Iterator[list[Rig]]:
        """Every flow of the test, closed at its end."""
        made: list[Rig] = []
        yield made
        for rig in made:
            rig.close()

    @pytest.fixture
    def make(self, site: Site, mode: str, made: list[Rig]) -> Make:
        """Makes flows on the shared site."""

        def make(**more: object) -> Rig:
            made.append(Rig(site, mode, **more))  # type: ignore[arg-type]
            return made[-1]

        return make

    @pytest.fixture
    def rig(self, make: Make) -> Rig:
        """A flow on the table `t`."""
        return make()
