"""--help of the program and of every command: complete, in one form, not wider than a terminal.

usage: help.py PATH/TO/lacuna
"""

import pathlib
import re
import sys
import tempfile

from lacuna_process import lacuna, snapshot

COMMANDS = ["train", "sweep", "compare", "plan", "explain", "doctor", "eval", "report", "bench", "bench step", "bench infer", "bench kernels",
            "export", "import"]
FAILURES = []


def check(name, truth, detail=""):
    if not truth:
        FAILURES.append(f"{name}: {detail}")


def main(binary):
    with tempfile.TemporaryDirectory() as folder:
        for command in ["", *COMMANDS]:
            name = f"lacuna {command}".strip()
            done = lacuna(binary, *command.split(), "--help", cwd=folder)
            text = done.stdout
            check(name, done.returncode == 0 and not done.stderr, f"exit code {done.returncode}: {done.stderr}")
            check(name, re.search(rf"^Usage: {name} \[OPTIONS\]", text, re.M), text[:400])
            check(name, all(len(line) <= 100 for line in text.splitlines()), [line for line in text.splitlines() if len(line) > 100])
            check(name, "TEXT" not in text and "UINT" not in text and "{" not in text, text)
            # Every option and argument says what it is: its own line or the next, at the column of meanings.
            for line, below in zip(text.splitlines(), [*text.splitlines()[1:], ""]):
                if re.match(r"  \S", line):
                    check(name, len(line) > 26 and line[26] != " " and line[25] == " " or below.startswith(" " * 26), line)
        listed = lacuna(binary, "--help", cwd=folder).stdout
        for command in COMMANDS:
            if " " not in command:
                check("list", re.search(rf"^  {command} +\S", listed, re.M), f"{command} is not in {listed}")
        for group in ("Train:", "Look ahead:", "Use runs:", "Measure:", "Exchange weights:"):
            check("list", group in listed, group)
        check("files", snapshot(folder) == {}, "something was written")
    print("\n".join(FAILURES) or f"{len(COMMANDS) + 1} pages of help read well")
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]).resolve()))
