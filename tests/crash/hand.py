"""The other end of store_hand.cc, with a model of what was acknowledged."""
import os
import select
import subprocess

BATCH = 16
HANG = 120  # seconds without an answer: it waits for ever


class wrong(Exception):
    pass


def expect(what, found, *words):
    """`found` begins with one of `words`."""
    if not any((found + " ").startswith(w + " ") for w in words):
        raise wrong("%s: %r, not %s" % (what, found, " or ".join(words)))
    return found


class hand:
    """I1 `acked` is what the store holds, index -> version; `unknown` are batches that it may hold as well."""

    def __init__(self, program, before=None):
        self.program, self.before = program, before
        self.acked, self.unknown = {}, []
        self.begin()

    def begin(self):
        self.process = subprocess.Popen([self.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=self.before)

    def say(self, line):
        self.process.stdin.write((line + "\n").encode())
        self.process.stdin.flush()
        answer = b""
        while not answer.endswith(b"\n"):
            if not select.select([self.process.stdout], [], [], HANG)[0]:
                raise wrong("%s: no answer" % line)
            more = os.read(self.process.stdout.fileno(), 1 << 16)
            if not more:
                raise wrong("%s: the process ended with %s" % (line, self.process.wait()))
            answer += more
        return answer.decode().rstrip("\n")

    def open(self, path, how="write", cache=8, device="auto"):
        return self.say("open %s %d %s %s" % (path, cache, how, device))

    def put(self, first, count, size, version):
        """RETURNS: records that are durable, and "ok" or the error."""
        done, outcome = self.say("put %d %d %d %d" % (first, count, size, version)).split(" ", 1)
        done = int(done)
        self.acked.update({i: version for i in range(first, first + done)})
        if outcome.startswith("outcome_unknown"):
            self.unknown.append({i: version for i in range(first + done, first + min(count, done + BATCH))})
        return done, outcome

    def delete(self, first, count):
        done, outcome = self.say("del %d %d" % (first, count)).split(" ", 1)
        for i in range(first, first + int(done)):
            self.acked.pop(i, None)
        return int(done), outcome

    def check(self):
        """The content is what was acknowledged, and check() finds nothing."""
        found = {}
        answer = expect("list", self.say("list"), "records")
        for run in answer.split()[1:]:
            span, version = run.split(":")
            first, last = span.split("-")
            found.update({i: int(version) for i in range(int(first), int(last) + 1)})
        for batch in self.unknown:
            if all(found.get(i) == v for i, v in batch.items()):
                self.acked.update(batch)
        self.unknown = []
        if found != self.acked:
            missing = [i for i in self.acked if i not in found]
            raise wrong("%d records, not %d; missing %s; others %s" % (
                len(found), len(self.acked), missing[:4], [i for i in found if found[i] != self.acked.get(i)][:4]))
        expect("check", self.say("check"), "0")

    def close(self):
        return self.say("close")

    def end(self):
        """Kills the process as it stands. What was acknowledged stays so for the next one."""
        self.process.kill()
        self.process.wait()
        self.begin()


def run(*arguments, **options):
    """RETURNS: exit code, standard output, standard error of a program that may not hang."""
    done = subprocess.run(arguments, capture_output=True, text=True, errors="surrogateescape", timeout=HANG, **options)
    return done.returncode, done.stdout, done.stderr.strip()


def expect_run(code, words, *arguments, **options):
    """The program ends with `code`, and its message holds `words`, on one line."""
    got, out, err = run(*arguments, **options)
    line = " ".join(arguments[1:])
    if got != code or words not in err or len(err.splitlines()) > 1:
        raise wrong("pleach %s: exit %d, not %d with %r: %s" % (line, got, code, words, err))
    return out


def run_scenarios(name, scenarios, chosen):
    """RETURNS: an exit code: 1 if one failed, else 77 if one was skipped."""
    failed = skipped = 0
    for scenario in scenarios:
        if chosen and scenario.__name__ not in chosen:
            continue
        outcome = "ok"
        try:
            scenario()
        except wrong as what:
            failed += 1
            outcome = str(what)
        except SystemExit as left:
            if left.code != 77:
                raise
            skipped += 1
            outcome = "skipped"
        print("%s: %s: %s" % (name, scenario.__name__, outcome), flush=True)
    return 1 if failed else 77 if skipped else 0
