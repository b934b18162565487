"""Runs tests one after the other, and tells of each."""

import time
import traceback


class Report:
    def __init__(self, wanted):
        self.wanted = wanted
        self.passed, self.failed = 0, []

    def tests(self, module):
        """The functions of `module` named `test_…` that are wanted, in the order they stand there."""
        found = {f"{module.__name__}.{n[5:]}": test for n, test in vars(module).items() if n.startswith("test_")}
        return {n: test for n, test in found.items() if not self.wanted or any(word in n for word in self.wanted)}

    def run(self, module, *arguments):
        for name, test in self.tests(module).items():
            self.one(name, test, *arguments)

    def one(self, name, test, *arguments):
        started = time.monotonic()
        try:
            test(*arguments)
        except Exception:
            self.failed.append(name)
            print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
        else:
            self.passed += 1
            print(f"ok      {name}  {time.monotonic() - started:.1f} s", flush=True)

    def end(self):
        """The exit status. The last line is the one that CI reads."""
        for name in self.failed:
            print(f"failed: {name}")
        print(f"{self.passed} passed, {len(self.failed)} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


def say(text):
    """A measured figure, or progress."""
    print(f"        {text}", flush=True)
