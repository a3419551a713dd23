"""Colours only where they can be; a picture that fits; a bar that ends."""

import io

from culvert.lab import picture
from culvert.lab.picture import Figures
from culvert.lab.screen import Screen

FIGURES = Figures(spi_to_b=1001, spi_to_a=1002, esp_on_wan=34567, clear_on_wan=0, sent_by_a=12345, sent_by_b=6789)


class Terminal(io.TextIOWrapper):
    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__(io.BytesIO(), encoding=encoding)

    def isatty(self) -> bool:
        return True

    def text(self) -> str:
        self.flush()
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode(self.encoding)


def test_colour_only_on_a_terminal_and_not_against_the_users_will() -> None:
    assert Screen(Terminal(), {"TERM": "xterm"}).has_colour
    assert not Screen(Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}).has_colour
    assert not Screen(Terminal(), {"TERM": "dumb"}).has_colour
    assert not Screen(io.StringIO(), {"TERM": "xterm"}).has_colour


def test_nothing_but_ascii_where_only_ascii_is_understood() -> None:
    terminal = Terminal("ascii")
    screen = Screen(terminal, {"NO_COLOR": "1"})
    screen.check(True, "a → b")
    for line in picture.draw(screen, FIGURES):
        screen.write(line)
    assert "ok   a ? b" in terminal.text()
    assert "?" not in terminal.text().split("a ? b")[1]


def test_the_picture_fits_a_terminal_of_80_columns() -> None:
    lines = picture.draw(Screen(Terminal(), {"NO_COLOR": "1"}), FIGURES)
    assert {len(line) for line in lines[:5]} == {80}
    assert any("ESP 0x3e9" in line and line.index("ESP") < line.index("▶") for line in lines)
    assert any("only ESP" in line for line in lines)
    assert any("12,345 out" in line and "6,789 out" in line and "34,567" in line for line in lines)


def test_the_picture_does_not_hide_clear_text() -> None:
    figures = Figures(spi_to_b=1, spi_to_a=2, esp_on_wan=3, clear_on_wan=4, sent_by_a=5, sent_by_b=6)
    text = "\n".join(picture.draw(Screen(Terminal(), {}), figures))
    assert "4 IN CLEAR" in text
    assert "only ESP" not in text


def test_a_bar_without_a_terminal_is_a_line_for_each_quarter() -> None:
    stream = io.StringIO()
    bar = Screen(stream, {}).progress(1000, "file")
    for done in range(0, 1001, 10):
        bar.reach(done)
    assert [line.split("%")[0].split()[-1] for line in stream.getvalue().splitlines()] == ["25", "50", "75", "100"]


def test_a_bar_on_a_terminal_redraws_one_line() -> None:
    terminal = Terminal()
    bar = Screen(terminal, {"NO_COLOR": "1"}).progress(1000, "file")
    for done in (1, 500, 1000):
        bar.reach(done)
    assert terminal.text().count("\n") == 1
    assert terminal.text().endswith("Mbit/s\n")
    assert "100 %" in terminal.text()
