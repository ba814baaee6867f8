"""Runs the command once for each list of arguments on standard input (JSON), each time in a forked process.

Importing what the command needs takes most of the time of a command that only complains; here it is once.
Writes a list of (exit status, standard error).
"""

import json
import os
import sys
import tempfile

from atalanta.cli import main


def run(arguments):
    with tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            os.dup2(errors.fileno(), 2)
            sys.exit(main(arguments))
        _, status = os.waitpid(child, 0)
        errors.seek(0)
        return os.waitstatus_to_exitcode(status), errors.read().decode()


json.dump([run(arguments) for arguments in json.load(sys.stdin)], sys.stdout)
