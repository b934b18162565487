"""Requests, forms and responses, without a host."""

import contextlib
import io
import json
import unittest

import fake_wasi  # noqa: F401

from modelfn_guest import Form, Problem, Request, Response, Stopwatch
from modelfn_guest.entry import handler, respond
from modelfn_guest.form import MAX_HEADER_BYTES, MAX_PARTS
from modelfn_guest.request import MAX_JSON_LEVELS


def request(body=b"", method="POST", target="/", **headers):
    fields = [(name.replace("_", "-"), value.encode()) for name, value in headers.items()]
    return Request(method, target, fields, lambda _limit, _declared: body)


def form(*parts, boundary="b", end="--\r\n"):
    lines = [f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n{body}\r\n" for head, body in parts]
    return ("".join(lines) + f"--{boundary}{end}").encode(), f"multipart/form-data; boundary={boundary}"


class Problems(unittest.TestCase):
    def expect(self, status, detail, call, *arguments):
        with self.assertRaises(Problem) as caught:
            call(*arguments)
        self.assertEqual(caught.exception.status, status, caught.exception.detail)
        self.assertIn(detail, caught.exception.detail)


class Requests(Problems):
    def test_path_and_query(self):
        asked = request(target="/a/b?x=1%202&y=&x=3")
        self.assertEqual((asked.path, asked.query("x"), asked.query("y"), asked.query("z")), ("/a/b", "1 2", "", None))
        self.assertEqual(request(target="/f/a", spin_path_info="/a").path, "/a")
        self.assertEqual(request(target="/f", spin_path_info="").path, "/")

    def test_a_query_of_too_many_parameters(self):
        self.assertEqual(request(target="/?" + "&".join(["a=1"] * 1000)).query("a"), "1")
        self.expect(400, "1,000", request(target="/?" + "&".join(["a=1"] * 1001)).query, "a")

    def test_headers_of_one_name_are_joined(self):
        asked = Request("GET", "/", [("Accept", b"a"), ("accept", b"b")], lambda *_: b"")
        self.assertEqual(asked.header("ACCEPT"), "a, b")

    def test_json(self):
        self.assertEqual(request(b'{"a": [1, 2.5, "\xc3\xa4"]}').json(), {"a": [1, 2.5, "ä"]})
        self.assertEqual(request(b"1", content_type="application/x-www-form-urlencoded").json(), 1)
        for body in (b"{", b"[1,]", b"NaN", b"[Infinity]", b"1 2", b"\xff", b"", b"[" * 100_000):
            self.expect(400, "", request(body).json)
        self.expect(400, "line 2, column 1", request(b"[1,\nx]").json)

    def test_json_of_many_levels(self):
        for brackets in ("[]", '{"a":}'):
            opening, closing = brackets[:-1], brackets[-1]
            for levels in (1, MAX_JSON_LEVELS - 1, MAX_JSON_LEVELS):
                request((opening * levels + "1" + closing * levels).encode()).json()
            many = MAX_JSON_LEVELS + 1
            self.expect(400, "128 levels", request((opening * many + "1" + closing * many).encode()).json)
            self.expect(400, "128 levels", request((opening * 100_000).encode()).json)
        rows = [["[" * 1000, {'\\"[': [{}]}]] * 1000
        self.assertEqual(request(json.dumps(rows).encode()).json(), rows)
        self.expect(400, "line 1", request(json.dumps(rows)[:-1].encode()).json)
        self.expect(400, "line 1", request(b"[1]" * 200 + b'"').json)

    def test_a_body_that_its_head_forbids_is_not_read(self):
        def read(*_):
            self.fail("the body was read")

        long = Request("POST", "/", [("content-length", str((16 << 20) + 1).encode())], read)
        self.expect(413, "more than 16 MiB", long.bytes)
        self.expect(415, "Content-Encoding", Request("POST", "/", [("content-encoding", b"br")], read).bytes)
        self.assertEqual(request(b"x", content_length=str(16 << 20)).bytes(), b"x")

    def test_a_file_is_the_body_or_a_field(self):
        self.assertEqual(request(b"x", content_type="image/png").file("image").content_type, "image/png")
        body, kind = form(('name="image"; filename="a"', "x"))
        self.assertEqual(request(body, content_type=kind).file("image").data, b"x")
        self.expect(400, "empty", request().file, "image")


class Forms(Problems):
    def test_fields_and_files(self):
        body, kind = form(
            ('name="text"', "a\r\nb"), ('name="f"; filename="q\\"; name=\\"x"\r\nContent-Type: image/gif', "\r\n--c")
        )
        found = request(body, content_type=kind).form()
        self.assertEqual([part.name for part in found], ["text", "f"])
        self.assertEqual(found.text("text"), "a\r\nb")
        file = found.file("f")
        self.assertEqual((file.filename, file.content_type, file.data), ('q"; name="x', "image/gif", b"\r\n--c"))
        self.assertIn("f", found)
        self.assertNotIn("x", found)

    def test_boundaries(self):
        body, _ = form(('name="a"', "1"), boundary="b c")
        self.assertEqual(Form.parse(b"preamble\r\n" + body, 'Multipart/Form-Data; x=y; BOUNDARY="b c"').text("a"), "1")
        self.assertEqual(Form.parse(b"--b\r\n\r\n1\r\n--b--", "multipart/form-data; boundary=b").text(""), "1")
        self.assertEqual(len(Form.parse(b"--b--", "multipart/form-data; boundary=b")), 0)

    def test_broken_forms(self):
        body, kind = form(('name="a"', "1"))
        for cut in range(1, len(body) - 4):
            self.expect(400, "", Form.parse, body[:cut], kind)
        self.expect(400, "no boundary", Form.parse, body, "multipart/form-data")
        self.expect(400, "does not hold the boundary", Form.parse, body, "multipart/form-data; boundary=c")
        self.expect(400, "broken header", Form.parse, b"--b\r\nno end\r\n--b--", kind)
        self.expect(400, "broken header", Form.parse, b"--b\r\n\r\n--b--", kind)
        self.expect(400, "broken header", Form.parse, b"--b\r\n--b--", kind)
        self.expect(415, "multipart/form-data", request(body, content_type="text/plain").form)

    def test_missing_and_empty_fields(self):
        found = Form.parse(*form(('name="f"; filename="a"', "")))
        self.expect(400, "the form's field 'f' is empty", found.file, "f")
        self.expect(400, "no field 'g'; try: curl -F g=@FILE URL", found.file, "g")
        self.expect(400, "no field 't'; try: curl -F t=VALUE URL", found.text, "t")
        body, kind = form(('name="a"', "?"))
        self.expect(400, "field 'a' is not UTF-8", Form.parse(body.replace(b"?", b"\xff"), kind).text, "a")

    def test_limits(self):
        most = [('name="a"', "")] * MAX_PARTS
        self.assertEqual(len(Form.parse(*form(*most))), MAX_PARTS)
        self.expect(413, "more than 1,000 parts", Form.parse, *form(*most, most[0]))
        head = len('Content-Disposition: form-data; name="')
        self.assertEqual(len(Form.parse(*form((f'name="{"a" * (MAX_HEADER_BYTES - head - 1)}"', "")))), 1)
        self.expect(400, "broken header", Form.parse, *form((f'name="{"a" * (MAX_HEADER_BYTES - head)}"', "")))


class Responses(Problems):
    def test_a_response_has_a_length_but_for_head(self):
        response = Response.text("ä").header("x-a", "1")
        self.assertIn(("content-length", b"2"), response.fields(is_head=False))
        self.assertNotIn("content-length", dict(response.fields(is_head=True)))
        self.assertIn(("x-a", b"1"), response.fields(is_head=True))

    def test_what_json_cannot_say(self):
        self.assertEqual(Response.json({"a": ["ä"]}).body, '{"a":["ä"]}\n'.encode())
        for value in (float("nan"), object(), [float("inf")]):
            self.expect(500, "no JSON", Response.json, value)

    def test_statuses(self):
        self.assertEqual(Response.json({}, status=201).status, 201)
        for status in (100, 199, 600):
            with self.assertRaisesRegex(ValueError, "200 to 599"):
                Response.text("", status)
        for status in (200, 399, 600):
            with self.assertRaisesRegex(ValueError, "400 to 599"):
                Problem(status, "")

    def test_a_problem_is_a_document(self):
        response = Response.problem(Problem(409, "taken", name="cat"))
        document = {"type": "about:blank", "title": "Conflict", "status": 409, "detail": "taken", "name": "cat"}
        self.assertEqual((response.status, json.loads(response.body)), (409, document))
        self.assertEqual(Problem.too_large("").document()["title"], "Content Too Large")
        self.assertIn(("allow", "GET"), Response.problem(Problem.method_not_allowed("GET")).headers)
        with self.assertRaisesRegex(ValueError, "'detail' is a member"):
            Problem(400, "x", detail="y")

    def test_a_stopwatch_has_laps(self):
        stopwatch = Stopwatch()
        stopwatch.lap("decode")
        stopwatch.lap("compute")
        (_, value) = Response.text("").timing(stopwatch).headers[-1]
        self.assertRegex(value, r"^decode;dur=\d+\.\d\d, compute;dur=\d+\.\d\d$")


class Handlers(unittest.TestCase):
    def failing(self, error):
        def function(_request):
            raise error

        log = io.StringIO()
        with contextlib.redirect_stderr(log):
            response = respond(function, request())
        return response, log.getvalue()

    def test_a_problem_is_sent_and_not_logged(self):
        response, log = self.failing(Problem.not_found("no such path"))
        self.assertEqual((response.status, log), (404, ""))

    def test_what_an_exception_says_is_for_the_log_only(self):
        for error in (RuntimeError("secret"), SystemExit("secret"), KeyboardInterrupt("secret")):
            response, log = self.failing(error)
            self.assertEqual(response.status, 500)
            self.assertNotIn(b"secret", response.body)
            self.assertIn("secret", log)
            self.assertIn("test_requests.py", log)
        self.assertEqual(self.failing(MemoryError())[0].status, 507)

    def test_a_handler_returns_a_response(self):
        log = io.StringIO()
        with contextlib.redirect_stderr(log):
            self.assertEqual(respond(lambda _request: {"a": 1}, request()).status, 500)
        self.assertIn("returned dict; return a Response", log.getvalue())

    def test_a_module_has_one_handler(self):
        module = {"handler": handler}
        exec("@handler\ndef first(request): ...", module)  # noqa: S102
        self.assertTrue(hasattr(module["IncomingHandler"], "handle"))
        with self.assertRaisesRegex(RuntimeError, "handler already"):
            exec("@handler\ndef second(request): ...", module)  # noqa: S102


if __name__ == "__main__":
    unittest.main()
