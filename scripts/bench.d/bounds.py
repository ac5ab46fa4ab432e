#!/usr/bin/env python3
"""What hostile or careless inputs cost: makes each, gives it to presyn, and prints status, peak memory and CPU time as a
Markdown table. The last row takes root and cc: a flood of another process's SYNs beside `presyn run -- sleep 14`, in a
network namespace of its own.

usage: scripts/bench.d/bounds.py [PRESYN]      default: target/release/presyn
"""
import os
import resource
import struct
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PRESYN = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "target/release/presyn"))
FLOOD = 2_000_000


def name(text):
    return b"".join(bytes([len(part)]) + part.encode() for part in text.split(".")) + b"\0"


def capture(path, lookups):
    """Lookups of one client, each answered with NXDOMAIN after a millisecond."""
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 101))
        for n in range(lookups):
            question = name(f"host{n}.absent.example") + struct.pack(">HH", 1, 1)
            for answer in (0, 1):
                flags = 0x8183 if answer else 0x0100
                message = struct.pack(">HHHHHH", n & 0xFFFF, flags, 1, 0, 0, 0) + question
                ports = (53, 20_000 + n % 40_000)[::1 if answer else -1]
                hosts = (b"\x0a\0\0\x35", b"\x0a\0\0\x01")[::1 if answer else -1]
                udp = struct.pack(">HHHH", *ports, 8 + len(message), 0) + message
                ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 2 * n + answer & 0xFFFF, 0, 64, 17, 0)
                packet = ip + b"".join(hosts) + udp
                out.write(struct.pack("<IIII", 1_700_000_000 + n // 100, n % 100 * 10_000 + answer * 1_000,
                                      len(packet), len(packet)) + packet)


def bomb(path):
    """A capture of 16 GiB as 512 KiB of zstd: one frame (RFC 8878) of blocks that repeat one byte 128 KiB long."""
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 101)
    with open(path, "wb") as out:
        out.write(struct.pack("<I", 0xFD2FB528) + bytes([0, 7 << 3]))
        out.write(((len(header) << 3) | 0).to_bytes(3, "little") + header)
        for _ in range(131_072):
            out.write(((131_072 << 3) | 2).to_bytes(3, "little") + b"\0")
        out.write(((1 << 3) | 2 | 1).to_bytes(3, "little") + b"\0")


def run(arguments):
    """Status, MiB and seconds of CPU of one run, and the first line that it says about what it refuses."""
    began = time.monotonic()
    child = subprocess.Popen([PRESYN, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = child.stderr.read().decode(errors="replace").strip().splitlines()
    _, status, usage = os.wait4(child.pid, 0)
    return (os.waitstatus_to_exitcode(status), usage.ru_maxrss / 1024, usage.ru_utime + usage.ru_stime,
            time.monotonic() - began, said[-1] if said else "")


def flood(folder):
    """Peak of all of presyn's processes, their CPU, and the report's lines about what was not kept."""
    storm = os.path.join(folder, "flood")
    subprocess.run(["cc", "-O2", "-o", storm, os.path.join(ROOT, "scripts/bench.d/flood.c")], check=True)
    script = f"""
    ip link set lo up
    {storm} 9 {FLOOD} & storm=$!
    {PRESYN} run --save {folder}/case -- sleep 14 2>{folder}/said & presyn=$!
    while kill -0 $presyn 2>/dev/null; do
        for pid in $presyn $(cat /proc/$presyn/task/*/children 2>/dev/null); do
            [ "$(readlink /proc/$pid/exe)" = {PRESYN} ] || continue
            echo $pid $(awk '/VmHWM/{{print $2}}' /proc/$pid/status) $(cut -d' ' -f14,15 /proc/$pid/stat)
        done
        sleep 0.5
    done
    kill $storm 2>/dev/null
    """
    out = subprocess.run(["unshare", "-n", "sh", "-c", script], capture_output=True, text=True).stdout
    peaks, ticks = {}, {}
    for line in out.splitlines():
        fields = line.split()
        if len(fields) == 4:
            peaks[fields[0]] = int(fields[1]) / 1024
            ticks[fields[0]] = (int(fields[2]) + int(fields[3])) / os.sysconf("SC_CLK_TCK")
    with open(os.path.join(folder, "said")) as said:
        words = " ".join(said.read().split())
    at = words.find("not kept")
    return peaks, ticks, words[at:at + 110] if at >= 0 else words[-110:]


def main():
    print("| input | status | peak, MiB | CPU, s | clock, s | last line |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = lambda n: os.path.join(folder, n)
        row = lambda what, r: print(f"| {what} | {r[0]} | {r[1]:.0f} | {r[2]:.2f} | {r[3]:.2f} | {r[4][:100]} |", flush=True)
        os.mkdir(path("hosts-case"))
        capture(path("hosts-case/packets.pcap"), 1_000)
        with open(path("hosts-case/hosts"), "w") as out:
            while out.tell() < 8_000_000:
                out.write(f"10.{out.tell() >> 16 & 255}.0.1 some-name-{out.tell()}.example\n")
        row("hosts of 8 MB, 1,000 negative lookups", run(["analyze", path("hosts-case")]))
        with open(path("resolv.conf"), "w") as out:
            while out.tell() < 18_000_000:
                out.write(f"nameserver 10.0.{out.tell() & 255}.53\n")
        row("whatif with a resolv.conf of 18 MB",
            run(["whatif", path("hosts-case/packets.pcap"), "--resolv-conf", path("resolv.conf")]))
        row("--resolv-conf /dev/zero",
            run(["analyze", path("hosts-case/packets.pcap"), "--resolv-conf", "/dev/zero"]))
        capture(path("many.pcap"), 17_000)
        with open(path("report.json"), "wb") as out:
            subprocess.run([PRESYN, "analyze", "--all", "--format", "json", path("many.pcap")], stdout=out, check=True)
        size = os.path.getsize(path("report.json")) / 1e6
        row(f"diff of two reports of {size:.0f} MB", run(["diff", path("report.json"), path("report.json")]))
        bomb(path("bomb.pcap.zst"))
        row("16 GiB in 512 KiB of zstd", run(["analyze", path("bomb.pcap.zst")]))
        if os.geteuid() == 0:
            peaks, ticks, words = flood(folder)
            sizes = " and ".join(f"{p:.0f}" for p in peaks.values())
            row(f"2 million foreign SYNs beside `run -- sleep 14`: {sizes} MiB",
                (0, sum(peaks.values()), sum(ticks.values()), 14, words))


if __name__ == "__main__":
    main()
