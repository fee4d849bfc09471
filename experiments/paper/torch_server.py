"""torch_models.py in a process that stays: PyTorch takes seconds to import, and a table has dozens of measurements."""

import json
import os
import pathlib
import queue
import subprocess
import threading


class TorchServer:
    """One process at a time, started when it is first asked, and again after one that died or was stopped."""

    def __init__(self, python):
        self.python, self.process, self.cuda = python, None, None

    def _start(self):
        script = pathlib.Path(__file__).with_name("torch_models.py")
        self.process = subprocess.Popen([self.python, str(script), "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1", "TORCHINDUCTOR_FX_GRAPH_CACHE": "1",
                                                                  "TORCHINDUCTOR_AUTOGRAD_CACHE": "1"})
        self.lines = queue.Queue()

        def listen(stream, lines):
            for line in stream:
                if line.startswith("{"):  # not what a library printed
                    lines.put(line)
            lines.put("")
        threading.Thread(target=listen, args=(self.process.stdout, self.lines), daemon=True).start()

    def ask(self, what, timeout):
        """The reply to a list of torch_models.py's arguments: its dict, or {'error': ...}. Raises TimeoutExpired, and the process is gone."""
        try:
            if self.process is None or self.process.poll() is not None:
                self._start()
            self.process.stdin.write(json.dumps(what) + "\n")
            self.process.stdin.flush()
            line = self.lines.get(timeout=timeout)
        except queue.Empty:
            self.stop()
            raise subprocess.TimeoutExpired(what, timeout) from None
        except OSError as error:
            self.stop()
            return {"error": f"{self.python}: {error}"}
        if not line:
            self.stop()
            return {"error": "PyTorch's process ended"}
        return json.loads(line)

    def has_cuda(self):
        """Whether that Python has PyTorch and sees a GPU."""
        if self.cuda is None:
            try:
                self.cuda = self.ask(["hello"], 120).get("cuda") is True
            except subprocess.TimeoutExpired:
                self.cuda = False
        return self.cuda

    def stop(self):
        """Ends the process, if there is one."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process = None
