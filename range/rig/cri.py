"""What the container runtime does with a container's output: one line, one time. Run as a program: cri.py STREAM FILE.

Enters: stdin. Leaves: `<RFC3339Nano> STREAM F|P LINE` appended to FILE; lines over 16 KiB are split, parts marked P.
"""
import sys
import time

LIMIT = 16 * 1024


def main(stream, path):
    with open(path, "ab", buffering=0) as out:
        for line in iter(sys.stdin.buffer.readline, b""):
            at = time.time_ns()
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at // 10**9)) + f".{at % 10**9:09d}Z"
            line = line.rstrip(b"\n")
            while len(line) > LIMIT:
                out.write(f"{stamp} {stream} P ".encode() + line[:LIMIT] + b"\n")
                line = line[LIMIT:]
            out.write(f"{stamp} {stream} F ".encode() + line + b"\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
