"""What every benchmark uses: rows of the report, and memory."""

import threading

import psutil

Row = dict[str, object]
"""One line of the report: the columns of its section in their order. A float is printed with two decimals."""


class PeakMemory:
    """Largest sum of the resident memory of this process and its children (Spark's JVM and workers), in MiB."""

    def __enter__(self) -> "PeakMemory":
        self.mib, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._stop.wait(0.2):
            total = 0
            for process in (me, *me.children(recursive=True)):
                try:
                    memory = process.memory_full_info()
                    total += memory.pss  # forked workers share pages, which rss counts again in each
                except psutil.Error:
                    continue
            self.mib = max(self.mib, total / 2**20)
