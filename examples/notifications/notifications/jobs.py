"""A job that goes on after the response: a thread of the server's process that tells how far it is."""

import threading
import time
import uuid

from .notify import notify

STEPS = 20
SECONDS_PER_STEP = 0.1


def start_report(user):
    """Begin a report for the user; returns the name of the job that its notifications carry."""
    job = uuid.uuid4().hex
    threading.Thread(target=make_report, args=(user, job), name=f"report-{job}", daemon=True).start()
    return job


def make_report(user, job):
    for step in range(STEPS + 1):
        progress = 100 * step // STEPS
        text = "Your report is ready" if progress == 100 else "Making your report"
        notify(user, text, job=job, progress=progress)
        if progress < 100:
            time.sleep(SECONDS_PER_STEP)  # stands for the work
