"""The vocabulary of a model as one offline page.

Every motion token is a small figure that does what the token decodes to, alone and repeated once; with --data also how
often the dataset uses it and what follows it. The page needs no network.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from hftrainer.cli.outputs import plan
from hftrainer.cli.parser import Done, Parser, RequestError
from hftrainer.cli.progress import Progress


def arguments(parser: Parser) -> None:
    """What ``hftrainer tokens`` takes."""
    parser.add_argument("model", nargs="?", metavar="ARTIFACT", help="default: the built-in motiongpt-mini")
    parser.flag("-o", "--output", required=True, metavar="FILE.html", help="the page")
    parser.flag("--data", metavar="DIR", help="a dataset folder whose use of the tokens is counted")
    parser.flag("--split", default="train", help="of the dataset (default train)")


def run(args: argparse.Namespace, progress: Progress) -> Done:
    """Write the page."""
    ((page,),) = plan([args.output], 1, (".html",))
    if args.data is not None and not Path(args.data).is_dir():
        raise RequestError(f"{args.data} must be a dataset folder; there is none.")
    import torch

    from hftrainer.data.humanml3d import HumanML3D
    from hftrainer.models.motion.motiongpt.bundle import MotionGPTBundle
    from hftrainer.motion.files.atomic import written_whole
    from hftrainer.motion.representation.hml263 import hml263_to_joints, kit251_to_joints
    from hftrainer.rendering.atlas import atlas_page, counted, nearest

    bundle = MotionGPTBundle.from_pretrained(args.model)
    codes = bundle.motion_tokenizer.config.codes
    usage, followers, said = None, None, ""
    if args.data is not None:
        dataset = HumanML3D(args.data)
        rows = []
        for number, name in enumerate(dataset.ids(args.split)):
            if number % 100 == 0:
                progress(f"reading clip {number} of {len(dataset.ids(args.split))}")
            rows.append(bundle.tokenize(dataset.clip(name).motion))
        usage, followers = counted(rows, codes)
        said = f"; {int((usage > 0).sum())} used by {args.split} of {dataset.name}, {int(usage.sum())} times in all"
    progress("decoding every token")
    with torch.no_grad():
        twice = torch.arange(codes, device=bundle.device)[:, None].expand(codes, 2)
        features = bundle.motion_tokenizer.decode(twice).float().cpu()
    physical = (features * bundle.statistics.std + bundle.statistics.mean).numpy()
    kit = bundle.statistics.spec.name == "kit251"
    joints = kit251_to_joints(physical) / 1000 if kit else hml263_to_joints(physical)
    codebook = bundle.motion_tokenizer.quantizer.codebook.detach().float().cpu().numpy()
    name = bundle.about.get("name", "motiongpt")
    frames = bundle.frames_per_token
    text = atlas_page(
        joints, nearest(codebook), f"{name}: {codes} tokens of {frames} frames{said}", usage, followers
    )
    with written_whole(page) as beside:
        beside.write_text(text, encoding="utf-8")
    return Done({"file": str(page), "codes": codes}, [str(page)])
