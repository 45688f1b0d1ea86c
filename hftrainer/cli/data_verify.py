"""Name every clip of a dataset that is not sound.

Looked for: NaN, wrong shapes, joints that are not what the features decode to, feet that never touch the floor or fly,
flipped limbs, bones that change their length, jumps. The exit status is 1 when a clip is named. Of a packed folder the
sums of its shards are looked at, and that every clip in them can be read.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from hftrainer.cli.parser import Done, Parser, whole
from hftrainer.cli.progress import Progress


def arguments(parser: Parser) -> None:
    """What ``hftrainer data verify`` takes."""
    parser.add_argument("folder", metavar="DIR", help="a dataset folder")
    parser.flag("--workers", type=whole(1), default=2, help="processes (default 2)")


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Look at every clip."""
    progress(f"looking at the clips of {args.folder}")
    from hftrainer.data.packed import PackedDataset, is_packed
    from hftrainer.data.verify import verify

    if is_packed(args.folder):
        faults = PackedDataset(args.folder, ()).verify(progress)
        last = f"faults: {len(faults)}" if faults else "every shard and every clip is sound"
        return Done({"folder": args.folder, "faults": faults}, [*faults, last], code=1 if faults else 0)
    findings = verify(args.folder, workers=args.workers)
    clips = sorted({finding.clip for finding in findings})
    report = {"folder": args.folder, "clips": clips, "findings": [asdict(finding) for finding in findings]}
    last = f"clips that are not sound: {len(clips)}" if clips else "every clip is sound"
    return Done(report, [*map(str, findings), last], code=1 if clips else 0)
