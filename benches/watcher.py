#!/usr/bin/env python3
"""The kind of watcher that Poolwatch replaces, to be measured against: it tails nginx's access log, keeps a window of requests,
compares each line's pool with the last one, and posts to Slack.

    watcher.py LOG WEBHOOK [seconds between polls, 0.1]
"""
import json
import re
import sys
import time
import urllib.request
from collections import deque

LINE = re.compile(r'pool=(\S*) release=(\S*) status=(\d+) upstream_status=([^"]*) upstream_addr=([^"]*) time=([^"]*)$')


def post(webhook, text):
    body = json.dumps({"text": text}).encode()
    request = urllib.request.Request(webhook, body, {"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(request, timeout=5).read()
    except OSError as error:
        print(error, file=sys.stderr)


def lines(path, pause):
    """The lines of the log, and then every line that is added."""
    rest = ""
    with open(path, encoding="utf-8", errors="replace") as log:
        while True:
            text = log.read(65536)
            if not text:
                time.sleep(pause)
                continue
            *whole, rest = (rest + text).split("\n")
            yield from whole


def main():
    path, webhook = sys.argv[1:3]
    pause = float(sys.argv[3]) if len(sys.argv) > 3 else 0.1
    window, errors, last, alerted = deque(maxlen=200), 0, None, 0.0
    for line in lines(path, pause):
        found = LINE.search(line)
        if not found:
            continue
        pool, release, _, upstream_status, address, _ = found.groups()
        failed = any(status.strip().startswith("5") for status in upstream_status.split(","))
        if len(window) == window.maxlen:
            errors -= window[0]
        window.append(failed)
        errors += failed
        if pool and pool != "-":
            if last and pool != last:
                post(webhook, f"Failover: {last} -> {pool} ({release}, {address})")
            last = pool
        if len(window) == window.maxlen and errors > 0.02 * len(window) and time.monotonic() > alerted + 300:
            alerted = time.monotonic()
            post(webhook, f"Error rate: {errors} of {len(window)}")


main()
