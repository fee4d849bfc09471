"""The `lacuna` program, as experiments call it: where it is, and many calls side by side."""

import datetime
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]  # of the repository
INTERRUPTED = 75  # lacuna's exit code: saved, to be resumed


def find_lacuna(given=None):
    """The program's path: what was given, $LACUNA, build*/lacuna of the repository, or the PATH's. Exits where there is none."""
    if given or os.environ.get("LACUNA"):
        path = pathlib.Path(given or os.environ["LACUNA"]).resolve()
        if not os.access(path, os.X_OK):
            sys.exit(f"{path}: no such program")
        return path
    for path in (ROOT / "build" / "lacuna", *sorted(ROOT.glob("build*/lacuna")), shutil.which("lacuna")):
        if path and os.access(path, os.X_OK):
            return pathlib.Path(path)
    sys.exit("no lacuna found: build it (./scripts/build.sh), or give --lacuna PATH")


def revision():
    """The source's commit, with '+' where files differ from it; '' outside a clone."""
    def git(*arguments):
        done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""
    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except OSError:
        return ""


def today():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")


def machine(lacuna):
    """Lines that say what it runs on, from `lacuna doctor`."""
    done = subprocess.run([str(lacuna), "doctor"], capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if line and line != "all good"]


def data_directory(given):
    """As the program is told it, which runs in the repository: relative where it lies below, so that results name no machine's paths."""
    path = os.path.abspath(given)
    return pathlib.Path(os.path.relpath(path, ROOT) if path.startswith(f"{ROOT}{os.sep}") else path)


def processor():
    """The processor's name, '' where the system does not say."""
    try:
        names = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
        return names[0] if names else ""
    except OSError:
        return ""


def write_json(path, value):
    """Whole or not at all."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(value, indent=1) + "\n")
    temporary.replace(path)


class Pool:
    """Runs jobs on slots, one at a time on each: `slots` are dicts of environment variables (such as CUDA_VISIBLE_DEVICES).

    Ctrl-C, SIGTERM and the end of `time_limit` seconds send SIGTERM to what runs (lacuna saves and ends with 75) and start no more.
    """

    def __init__(self, slots, time_limit=None):
        self.slots, self.lock, self.processes = slots, threading.Lock(), set()
        self.stopped, self.deadline = threading.Event(), time.monotonic() + time_limit if time_limit else None

    def stop(self, *_):
        self.stopped.set()
        with self.lock:
            for process in self.processes:
                process.send_signal(signal.SIGTERM)

    def call(self, command, environment, log):
        """Runs a command to its end, appending what it prints to a file; returns its exit code, or 75 when stopped before."""
        with self.lock:
            if self.stopped.is_set():
                return INTERRUPTED
            with open(log, "a") as out:
                process = subprocess.Popen([str(c) for c in command], cwd=ROOT, env={**os.environ, **environment}, stdout=out,
                                           stderr=subprocess.STDOUT, start_new_session=True)
            self.processes.add(process)
        code = process.wait()
        with self.lock:
            self.processes.discard(process)
        # Stopped before it had come so far as to catch the signal: nothing to save, nothing lost.
        return INTERRUPTED if self.stopped.is_set() and code == -signal.SIGTERM else code

    def run(self, jobs, work):
        """work(job, environment) for every job, in order of the list; from worker threads."""
        queue, failures = list(jobs), []

        def worker(environment):
            while not self.stopped.is_set():
                with self.lock:
                    if not queue:
                        return
                    job = queue.pop(0)
                try:
                    work(job, environment)
                except Exception as error:  # one job's failure is not the others'
                    failures.append(error)
        threads = [threading.Thread(target=worker, args=(slot,)) for slot in self.slots]
        before = {number: signal.signal(number, self.stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            for thread in threads:
                thread.start()
            while any(thread.is_alive() for thread in threads):
                if self.deadline and time.monotonic() > self.deadline and not self.stopped.is_set():
                    print("time is up: stopping; the same command goes on", flush=True)
                    self.stop()
                time.sleep(0.2)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if failures:
            raise failures[0]
