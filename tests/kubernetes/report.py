"""Runs tests one after the other and reports each result."""

import time
import traceback


class Report:
    def __init__(self, wanted):
        self.wanted = wanted
        self.passed, self.failed = 0, []

    def tests(self, module):
        """Returns the selected `test_…` functions of a module by name, in the order of their definition."""
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
        """Prints the summary, whose last line CI reads, and returns the exit status."""
        for name in self.failed:
            print(f"failed: {name}")
        print(f"{self.passed} passed, {len(self.failed)} failed", flush=True)
        return 1 if self.failed or not self.passed else 0


def say(text):
    """Prints a measured figure or progress."""
    print(f"        {text}", flush=True)
