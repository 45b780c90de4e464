"""Stands in for `sacct` on a cluster without accounting: answers submitit's question, from `scontrol show job`.

submitit asks `sacct -o JobID,State,NodeList --parsable2 -j ID [-j ID ...]`; without an answer it never learns that a
job was cancelled or killed.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys


def records(listing: str) -> list[dict[str, str]]:
    """Rows of `scontrol show job --oneliner`."""
    found = []
    for line in listing.splitlines():
        job = dict(re.findall(r"(\w+)=(\S*)", line))
        if "JobId" in job:
            nodes = job.get("NodeList", "").replace("(null)", "None assigned")
            found.append({"JobID": job["JobId"], "State": job["JobState"], "NodeList": nodes})
    return found


def main(arguments: list[str]) -> None:
    wanted = {b for a, b in itertools.pairwise(arguments) if a == "-j"}
    columns = arguments[arguments.index("-o") + 1].split(",")
    jobs = subprocess.run(["scontrol", "show", "job", "--oneliner"], check=True, capture_output=True, text=True)
    print("|".join(columns))
    for job in records(jobs.stdout):
        if job["JobID"] in wanted:
            print("|".join(job[c] for c in columns))


if __name__ == "__main__":
    main(sys.argv[1:])
