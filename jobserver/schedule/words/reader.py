"""A row of tokens with a place in it: what the grammar looks at and takes from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from difflib import get_close_matches

from jobserver.excerpt import excerpt
from jobserver.schedule.words.refusal import Misunderstood
from jobserver.schedule.words.tokens import Kind, Token, tokens_of
from jobserver.schedule.words.vocabulary import WORDS

_RANGE_SIGNS = ("-", "through", "to", "until")
_WELL_KNOWN_ZONES = ("utc", "gmt", "cet", "est", "pst")


class Reader:
    """Looks ahead, takes, and says where it stopped."""

    def __init__(self, text: str) -> None:
        self._text, self._tokens, self._place = text, tokens_of(text), 0
        self.said_of = False
        """Whether the number that was read last had its "of the month"."""

    @property
    def token(self) -> Token:
        """The next one."""
        return self._tokens[self._place]

    @property
    def latest(self) -> Token:
        """The one before the next."""
        return self._tokens[max(0, self._place - 1)]

    @property
    def following(self) -> Token:
        """The one after the next."""
        return self._tokens[min(self._place + 1, len(self._tokens) - 1)]

    def take(self) -> Token:
        """The next one, and go on."""
        token = self.token
        if token.kind is not Kind.END:
            self._place += 1
        return token

    def is_word(self, words: Collection[str]) -> bool:
        """Whether a word or sign of these comes next."""
        return self.token.kind in (Kind.WORD, Kind.SIGN) and self.token.text in words

    def accept(self, *words: str) -> bool:
        """Whether one of the words came next; then it is taken."""
        if self.is_word(words):
            self._place += 1
            return True
        return False

    def try_to(self, read: Callable[[], bool]) -> bool:
        """Whether `read` succeeded; if not, nothing is taken."""
        place = self._place
        if read():
            return True
        self._place = place
        return False

    def accept_connector(self) -> bool:
        """A comma, an "and", or both."""
        comma = self.accept(",")
        return self.accept("and") or comma

    def listed(self, starts_item: Callable[[], bool], read: Callable[[], Iterable[int]]) -> set[int]:
        """One or more items with commas or "and" between them."""
        found = set(read())
        while self.try_to(lambda: self.accept_connector() and starts_item()):
            found |= set(read())
        return found

    def text_between(self, start: int, end: int) -> str:
        """What is written there."""
        return self._text[start:end].strip(" ,")

    def accept_range_sign(self) -> bool:
        """What stands between the ends of a range."""
        return self.accept(*_RANGE_SIGNS)

    def stuck(self, wanted: str = "") -> Misunderstood:
        """Nothing can be made of the next token."""
        token = self.token
        if token.kind is Kind.END:
            return Misunderstood(f"something is missing{wanted and f': {wanted}'}", at=token.start)
        if token.kind is Kind.WORD and token.text not in WORDS:
            return self._misspelt(token)
        shown = excerpt(self._text[token.start :].split(" ")[0])
        return Misunderstood(f"{shown} has no meaning here{wanted and f': {wanted}'}", at=token.start)

    def _misspelt(self, token: Token) -> Misunderstood:
        word = self._text[token.start :].split(" ", maxsplit=1)[0]
        if "/" in word or word in _WELL_KNOWN_ZONES:
            reason = f"{excerpt(word)} is no part of the text: a time zone stands beside it, as timezone or --zone"
            return Misunderstood(reason, at=token.start, corrected=self.text_between(0, token.start))
        close = get_close_matches(token.text[:30], WORDS, n=1)
        if not close:
            return Misunderstood(f"unknown word {excerpt(token.text)}", at=token.start)
        rest = self._text[token.start + len(token.text) :]
        return Misunderstood(
            f"unknown word {excerpt(token.text)}; did you mean {close[0]!r}?",
            at=token.start,
            corrected=self._text[: token.start] + close[0] + rest,
        )

    def refused(self, reason: str, *, instead: str = "", at: Token | None = None) -> Misunderstood:
        """The reason, at the next token or at one that was taken."""
        return Misunderstood(reason, at=(at or self.token).start, instead=instead)
