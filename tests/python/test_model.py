"""Models and their outputs, with a fake host; cards come from the environment as a host gives them."""

import contextlib
import io
import os
import unittest
from array import array
from unittest import mock

from fake_wasi import NnError, host

from modelfn_guest import Problem, Tensor, model

CARD = """
name = "echo"
[[inputs]]
name = "ids"
dtype = "I64"
shape = [-1, 2]
[[inputs]]
name = "x"
dtype = "FP32"
shape = [-1]
"""


class Models(unittest.TestCase):
    def setUp(self):
        self.log = io.StringIO()
        self.enterContext(contextlib.redirect_stderr(self.log))
        self.addCleanup(setattr, host, "error", None)

    def card(self, text=CARD):
        self.enterContext(mock.patch.dict(os.environ, {"MODELFN_CARD": text}))

    def expect(self, status, detail, inputs):
        with self.assertRaises(Problem) as caught:
            model("echo").run(inputs)
        self.assertEqual(caught.exception.status, status)
        self.assertIn(detail, caught.exception.detail)

    def test_lists_take_the_type_of_the_card(self):
        self.card()
        outputs = model("echo").run({"ids": [[1, 2]], "x": [1]})
        self.assertEqual([outputs["ids"].dtype, outputs["x"].dtype], ["I64", "FP32"])

    def test_lists_have_their_own_type_where_no_card_says_one(self):
        for text in (None, CARD.replace('"echo"', '"other"')):
            if text:
                self.card(text)
            outputs = model("echo").run({"ids": [[1, 2]], "x": [1]})
            self.assertEqual([outputs["ids"].dtype, outputs["x"].dtype], ["I64", "I64"])

    def test_lists_that_do_not_fit_are_the_clients_fault(self):
        self.card()
        self.expect(400, "input 'ids' of model 'echo': I64 holds whole numbers, but 1.5 is none", {"ids": [[1.5, 2]]})
        self.expect(400, "input 'ids' of model 'echo' has shape [-1, 2], but was given [1, 3]", {"ids": [[1, 2, 3]]})
        self.expect(400, "input 'ids' of model 'echo' has shape [-1, 2], but was given [2]", {"ids": [1, 2]})
        self.expect(400, "not of text", {"ids": [["a", "b"]]})

    def test_tensors_that_the_host_refuses_are_the_functions_fault(self):
        self.card()
        host.error = NnError("INVALID_ARGUMENT", "secret")
        x = Tensor.of([1.0])
        self.expect(500, "has the inputs 'ids', 'x', but was given 'ids'", {"ids": [[1, 2]]})
        self.expect(
            500, "'x' of model 'echo' is of type FP32, but was given FP64", {"ids": [[1, 2]], "x": array("d", [1])}
        )
        self.expect(500, "'ids' of model 'echo' has shape [-1, 2], but was given [1]", {"ids": Tensor.of([1]), "x": x})
        self.expect(500, "its log says why", {"ids": [[1, 2]], "x": x})
        self.assertIn("wasi-nn: model 'echo': INVALID_ARGUMENT: secret", self.log.getvalue())

    def test_each_error_has_a_status(self):
        codes = {"TIMEOUT": 504, "TOO_LARGE": 507, "RUNTIME_ERROR": 502, "UNKNOWN": 502, "SECURITY": 500}
        for code, status in codes.items():
            host.error = NnError(code, "secret")
            self.expect(status, "model 'echo'", {"x": [1.0]})

    def test_an_unknown_model(self):
        with self.assertRaises(Problem) as caught:
            model("nowhere")
        self.assertEqual(
            (caught.exception.status, str(caught.exception)), (503, "model 'nowhere' is not loaded by this host")
        )

    def test_outputs_by_name_and_place(self):
        outputs = model("echo").run({"a": [1], "b": [2]})
        self.assertEqual((list(outputs), len(outputs), "a" in outputs), (["a", "b"], 2, True))
        self.assertEqual(outputs.at(1).tolist(), [2])
        for read in (lambda: outputs["c"], lambda: outputs.at(2), lambda: outputs.at(-1)):
            with self.assertRaises(Problem) as caught:
                read()
            self.assertIn("it has 'a', 'b'", caught.exception.detail)


if __name__ == "__main__":
    unittest.main()
