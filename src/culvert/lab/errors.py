"""What the lab says when it can't go on."""


class LabError(Exception):
    """One sentence for the person at the terminal; `detail` is what a program that we ran had to say."""

    def __init__(self, sentence: str, detail: str = "") -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.detail = detail.strip()

    def __str__(self) -> str:
        return f"{self.sentence}\n{self.detail}" if self.detail else self.sentence
