"""The path of a packet, drawn in the terminal."""

from dataclasses import dataclass

from culvert.lab.screen import Screen

_TO_ASCII = str.maketrans("┌┐└┘├┤─│═▶◀", "++++++-|=><")


@dataclass(frozen=True, slots=True)
class Figures:
    """What the picture tells: the SPI of each direction and the packets that each gateway protected and opened."""

    spi_to_b: int
    spi_to_a: int
    esp_on_wan: int
    clear_on_wan: int
    sent_by_a: int
    sent_by_b: int


def draw(screen: Screen, figures: Figures) -> list[str]:
    """Lines for a terminal of 80 columns."""
    verdict = "only ESP" if figures.clear_on_wan == 0 else f"{figures.clear_on_wan} IN CLEAR"
    there = f" ESP 0x{figures.spi_to_b:x} ".center(18, "═") + "▶"
    back = "◀" + f" ESP 0x{figures.spi_to_a:x} ".center(18, "═")
    sent_by_a, sent_by_b = f"{figures.sent_by_a:,} out", f"{figures.sent_by_b:,} out"
    rows = [
        ("┌───────────┐   ┌───────────┐ ", "        wan        ", " ┌───────────┐   ┌───────────┐"),
        ("│  client   │   │ culvert-a │ ", there, " │ culvert-b │   │  server   │"),
        ("│ 10.1.0.10 ├───┤  2.2.2.2  ├─", "─" * 19, "─┤  3.3.3.3  ├───┤ 10.2.0.10 │"),
        ("│ fd00:1::10│   │           │ ", back, " │           │   │ fd00:2::10│"),
        ("└───────────┘   └───────────┘ ", verdict.center(19), " └───────────┘   └───────────┘"),
        (
            f"{'in clear':^13}   {sent_by_a:^13} ",
            f"{figures.esp_on_wan:,} packets".center(19),
            f" {sent_by_b:^13}   {'in clear':^13}",
        ),
    ]
    colour = "green" if figures.clear_on_wan == 0 else "red"
    return [_row(screen, row, colour, number) for number, row in enumerate(rows)]


def _row(screen: Screen, row: tuple[str, str, str], colour: str, number: int) -> str:
    left, middle, right = row
    if not screen.has_lines:
        left, middle, right = (part.translate(_TO_ASCII) for part in row)
    return " " + left + (screen.paint(colour, middle) if number else middle) + right
