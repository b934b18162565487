"""The quick way to a card's inputs gives what tomllib does."""

import pathlib
import tomllib
import unittest

import fake_wasi  # noqa: F401

from modelfn_guest.signature import _usual_inputs, inputs

ROOT = pathlib.Path(__file__).parents[2]


def by_tomllib(text):
    card = tomllib.loads(text)
    return card.get("name", ""), {spec["name"]: spec for spec in card.get("inputs", [])}


class Cards(unittest.TestCase):
    def test_the_cards_here_are_usual(self):
        cards = [*ROOT.glob("models/*/model.toml"), *ROOT.glob("bench/models/*/model.toml")]
        self.assertGreaterEqual(len(cards), 6)
        for path in cards:
            text = path.read_text()
            self.assertIsNotNone(_usual_inputs(text), path)
            self.assertEqual(inputs(text), by_tomllib(text), path)

    def test_unusual_cards_are_read_as_well(self):
        table = '[[inputs]]\nname = "x"\nshape = [-1]\n'
        for text in (
            'name = "a"\ninputs = [{ name = "x", dtype = "I32" }]\n',
            "name = 'a'\n" + table,
            'name = "a" # the name\n' + table,
            'name = "a"\ndescription = """\n[[inputs]]\nname = "y"\n"""\n' + table,
            'name = "a"\n[[inputs]] # first\nname = "x"\n',
            'name = "a"\n[[inputs]]\nname="x"\n',
            'name = "a"\n[[inputs]]\nname = "x"\nshape = [\n  -1,\n]\n',
            'name = "a\\u0041"\n' + table,
            '"name" = "a"\n' + table,
            'name = "a"\n[[ inputs ]]\nname = "x"\n',
        ):
            self.assertEqual(inputs(text), by_tomllib(text), text)

    def test_a_broken_card(self):
        with self.assertRaises(tomllib.TOMLDecodeError):
            inputs('name = "a"\n[[inputs]]\nname = x\n')
        with self.assertRaises(KeyError):
            inputs('name = "a"\n[[inputs]]\nshape = [1]\n')


if __name__ == "__main__":
    unittest.main()
