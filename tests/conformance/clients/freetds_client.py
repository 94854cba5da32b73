"""Runs the conformance list with FreeTDS' `tsql` and `freebcp`. Usage: freetds_client.py CLIENT JOB.json

Each session is a `tsql` that is fed batches; what it prints is read back. Knows no expectation: prints one line of JSON for
each case with what the client gave, in the text forms of README.md.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

ERROR = re.compile(r"^Msg (\d+) \(severity (\d+), state \d+\) from .*?(?: Line \d+)?:$")
COUNT = re.compile(r"^\((\d+) rows? affected\)$")
END = "conformance_end"


class Session:
    """A `tsql` process."""

    def __init__(self, job, environment, database=None, password=None):
        command = ["stdbuf", "-oL", "tsql", "-S", "conformance", "-U", job["user"], "-P", password or job["password"]]
        command += ["-D", database or job["database"]]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, text=True
        )

    def send(self, sql):
        self.process.stdin.write(f"{sql}\ngo\nselect '{END}' as {END}\ngo\n")
        self.process.stdin.flush()

    def receive(self):
        """All lines up to the end's result; the prompts `1>` are taken off."""
        lines, seen = [], 0
        for line in self.process.stdout:
            line = re.sub(r"^(?:\d+> )+", "", line.rstrip("\n"))
            if line == END:
                seen += 1
            if line == "(1 row affected)" and seen == 2:
                return lines
            if seen == 0:
                lines.append(line)
        return lines

    def close(self):
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


def outcome(lines, declared=None):
    """What a batch gave, from what `tsql` printed of it."""
    results, counts, error, rows = [], [], None, None
    at = 0
    while at < len(lines):
        line = lines[at]
        found, count = ERROR.match(line), COUNT.match(line)
        if found:
            message = lines[at + 1].strip() if at + 1 < len(lines) else ""
            at += 1
            if int(found.group(2)) > 10 and error is None:
                error = {"number": int(found.group(1)), "message": message.strip('"')}
        elif count:
            if rows is None:
                counts.append(int(count.group(1)))
            rows = None
        elif line.startswith("Error ") and error is None:
            error = {"number": None, "message": line}
        elif rows is None and is_header(lines, at):
            rows = []
            results.append(rows)
        elif rows is not None:
            rows.append([None if cell == "NULL" else form(cell, declared) for cell in line.split("\t")])
        at += 1
    gave = {"results": results, "counts": counts}
    return {**gave, "error": error} if error else gave


def is_header(lines, at):
    """A line of column names: of all that `tsql` prints, only it is no message and stands outside of a result."""
    line = lines[at]
    return bool(line) and not line.startswith(("locale is", "locale charset", "using default", "There was", "Setting "))


def form(cell, declared):
    """The text form of what `tsql` prints."""
    if declared and re.match("binary|varbinary|image|rowversion", declared):
        return "0x" + cell.upper()
    return cell


class Case:
    def __init__(self, job, environment):
        self.job, self.environment, self.sessions = job, environment, {}

    def session(self, name):
        if name not in self.sessions:
            self.sessions[name] = Session(self.job, self.environment)
        return self.sessions[name]

    def step(self, step):
        act = step["do"]
        if act == "connect":
            session = Session(self.job, self.environment, step["database"], step["password"])
            try:
                session.send(step["sql"])
            except BrokenPipeError:
                pass  # it has said why it ended
            lines = session.receive()
            session.close()
            return outcome(lines)
        if act == "bulk":
            return self.bulk(step)
        if act == "unload":
            return self.unload(step)
        session = self.session(step["on"])
        if act == "sql":
            session.send(step["sql"])
            return outcome(session.receive(), step["declared"])
        if act == "start":
            session.send(step["sql"])
            return {}
        if act == "finish":
            return outcome(session.receive())
        raise NotImplementedError(act)

    def bulk(self, step):
        with tempfile.TemporaryDirectory() as directory:
            rows, errors = os.path.join(directory, "rows"), os.path.join(directory, "errors")
            with open(rows, "w", encoding="utf-8") as file:
                for row in step["load"]:
                    cells = ["" if cell is None else cell.removeprefix("0x") for cell in row]
                    file.write("\t".join(cells) + "\n")
            command = [*self.freebcp(step, "in", rows), "-e", errors]
            done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        copied = re.search(r"^(\d+) rows copied", said, re.MULTILINE)
        failed = re.search(r"Msg (\d+), Level \d+.*?\n(.*)", said)
        if failed:
            return {"error": {"number": int(failed.group(1)), "message": said}}
        if done.returncode or not copied:
            return {"error": {"number": None, "message": said}}
        return {"counts": [int(copied.group(1))]}

    def unload(self, step):
        with tempfile.TemporaryDirectory() as directory:
            rows = os.path.join(directory, "rows")
            command = self.freebcp(step, "out", rows)
            done = subprocess.run(command, env=self.environment, capture_output=True, text=True, check=False)
            if done.returncode:
                return {"error": {"number": None, "message": done.stdout + done.stderr}}
            with open(rows, encoding="utf-8") as file:
                lines = file.read().splitlines()
        return {"results": [[[cell or None for cell in line.split("\t")] for line in lines]]}

    def freebcp(self, step, direction, file):
        table = f"{self.job['database']}.{step['table']}"
        command = ["freebcp", table, direction, file, "-c", "-S", "conformance", "-U", self.job["user"]]
        return [*command, "-P", self.job["password"], "-t", "\\t", "-r", "\\n"]

    def run(self, steps):
        outcomes = []
        for step in steps:
            try:
                outcomes.append(self.step(step))
            except Exception as error:  # the runner's own trouble is the case's
                outcomes.append({"error": {"number": None, "message": repr(error)}})
        for session in self.sessions.values():
            session.close()
        return outcomes


def main():
    with open(sys.argv[2], encoding="utf-8") as file:
        job = json.load(file)
    with tempfile.TemporaryDirectory() as directory:
        encryption = {"plain": "off", "tls": "require"}[job["mode"]]
        with open(os.path.join(directory, "freetds.conf"), "w", encoding="utf-8") as file:
            file.write(f"[conformance]\nhost = {job['host']}\nport = {job['port']}\ntds version = 7.4\n")
            file.write(f"client charset = UTF-8\nencryption = {encryption}\n")
        with open(os.path.join(directory, "locales.conf"), "w", encoding="utf-8") as file:
            file.write("[default]\ndate format = %Y-%m-%d %H:%M:%S.%z\n")
        environment = {**os.environ, "FREETDS": directory, "FREETDSCONF": os.path.join(directory, "freetds.conf")}
        environment |= {"LC_ALL": "C.UTF-8"}
        for case in job["cases"]:
            outcomes = Case(job, environment).run(case["steps"])
            print(json.dumps({"case": case["case"], "steps": outcomes}), flush=True)


main()
