"""A terminal, as far as the dashboard speaks to one: what stands in each cell after what was written."""

import re

from rich.cells import split_graphemes

_PIECE = re.compile(r"\x1b\[([0-9;]*)([A-Za-z])|([^\x1b\n]+)|(\n)|(\x1b.?)")


class Terminal:
    """So many cells."""

    def __init__(self, columns: int, rows: int, *, filled: str = " ") -> None:
        self.columns, self.size = columns, (columns, rows)
        self.cells = [[(filled, "")] * columns for _ in range(rows)]
        """By row: what is seen in each column, and how; the second half of what is wide is empty."""
        self._x = self._y = 0
        self._look: dict[str, str] = {}

    @property
    def lines(self) -> list[str]:
        """As text."""
        return ["".join(letter for letter, _ in row) for row in self.cells]

    def scramble(self) -> None:
        """Have something stand there that nobody wrote, as where its size has changed."""
        self.cells = [[("▒", "")] * self.columns for _ in self.cells]

    def feed(self, written: str) -> None:
        """Do what it says. ValueError where it says what nobody expects."""
        for match in _PIECE.finditer(written):
            numbers, does, text, newline, wrong = match.groups()
            if text is not None:
                self._write(text)
            elif newline is not None:
                self._y, self._x = self._y + 1, 0
            elif wrong is not None:
                raise ValueError(f"nobody knows {wrong!r}")
            elif does == "H":
                self._y, self._x = (int(number) - 1 for number in numbers.split(";"))
            elif does == "G":
                self._x = int(numbers) - 1
            elif does == "m":
                self._paint([int(number or 0) for number in numbers.split(";")])
            else:
                raise ValueError(f"nobody knows {match.group()!r}")

    def _write(self, text: str) -> None:
        row, look = self.cells[self._y], self._looks()
        if text.isascii() and text.isprintable():
            if self._x + len(text) > self.columns:
                raise ValueError(f"{text!r} does not fit into row {self._y}")
            for column in (self._x, self._x + len(text) - 1):
                self._halve(row, column)
            row[self._x : self._x + len(text)] = [(letter, look) for letter in text]
            self._x += len(text)
            return
        for start, end, width in split_graphemes(text)[0]:
            letter = text[start:end]
            if not letter.replace("\u200d", "x").isprintable():
                raise ValueError(f"{letter!r} reached the terminal")
            if not width:
                continue
            if self._x + width > self.columns:
                raise ValueError(f"{letter!r} does not fit into row {self._y}")
            for column in (self._x, self._x + width - 1):
                self._halve(row, column)
            row[self._x : self._x + width] = [(letter, look), *[("", look)] * (width - 1)]
            self._x += width

    def _halve(self, row: list[tuple[str, str]], column: int) -> None:
        """What is wide goes as a whole."""
        if row[column][0] == "" and column:
            row[column - 1] = (" ", row[column - 1][1])
        if column + 1 < self.columns and row[column + 1][0] == "":
            row[column + 1] = (" ", row[column + 1][1])

    def _looks(self) -> str:
        return ";".join(f"{key}{value}" for key, value in sorted(self._look.items()))

    def _paint(self, numbers: list[int]) -> None:
        while numbers:
            number, *numbers = numbers
            if number == 0:
                self._look = {}
            elif number in (38, 48):
                size = 4 if numbers[0] == 2 else 2
                self._look[str(number)] = ",".join(map(str, numbers[:size]))
                numbers = numbers[size:]
            elif 30 <= number <= 37 or 90 <= number <= 97:
                self._look["38"] = str(number)
            elif 40 <= number <= 47 or 100 <= number <= 107:
                self._look["48"] = str(number)
            elif number in (39, 49):
                self._look.pop(str(number - 1), None)
            else:
                self._look[f"a{number}"] = ""
