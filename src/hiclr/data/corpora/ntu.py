"""NTU RGB+D 60 and 120, and simulated recordings of their form."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from hiclr.data.corpora.base import NO_FILES, Corpus, files_below, left_out, listed, names_and_sizes, readable
from hiclr.data.recordings.ntu import read_ntu_skeleton
from hiclr.data.synthetic import MARKER
from hiclr.skeleton import SKELETONS

_NTU_NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})", re.ASCII)
_SUFFIX = ".skeleton"

NTU60_TRAIN_PERFORMERS = frozenset({1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38})
NTU60_TRAIN_CAMERAS = frozenset({2, 3})
NTU120_TRAIN_PERFORMERS = NTU60_TRAIN_PERFORMERS | frozenset(
    {45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89, 91, 92, 93, 94}
    | {95, 97, 98, 100, 103}
)


class NTUName(NamedTuple):
    """The five numbers of a name SsssCcccPpppRrrrAaaa; each counts from 1."""

    setup: int
    camera: int
    performer: int
    repetition: int
    action: int

    def __str__(self) -> str:
        return "S{:03d}C{:03d}P{:03d}R{:03d}A{:03d}".format(*self)


def ntu_name(name: str) -> NTUName | None:
    """The numbers in an NTU sample name, None for a name of another form."""
    match = _NTU_NAME.fullmatch(name)
    return NTUName(*map(int, match.groups())) if match else None


Split = Callable[[NTUName], bool]
"""Whether a recording is on the train side."""

NTU60_SPLITS: dict[str, Split] = {
    "xsub": lambda name: name.performer in NTU60_TRAIN_PERFORMERS,
    "xview": lambda name: name.camera in NTU60_TRAIN_CAMERAS,
}
NTU120_SPLITS: dict[str, Split] = {
    "xsub": lambda name: name.performer in NTU120_TRAIN_PERFORMERS,
    "xset": lambda name: name.setup % 2 == 0,
}

NTU_CAMERAS = range(1, 4)
NTU60_PUBLISHED = {"xsub": (40_091, 16_487), "xview": (37_646, 18_932)}
NTU120_PUBLISHED = {"xsub": (63_026, 50_919), "xset": (54_468, 59_477)}

# The lists are the owners' and ship with their data; only their file names are known here.
# Theirs for NTU RGB+D 120 says the same of setups 1 to 17.
_NTU120_LISTS = ("NTU_RGBD120_samples_with_missing_skeletons.txt", "samples_with_missing_skeletons_NTU_RGBD120.txt")
_NTU60_LISTS = ("NTU_RGBD_samples_with_missing_skeletons.txt", "samples_with_missing_skeletons.txt", *_NTU120_LISTS)

_NTU_LICENCE = "academic research only, by agreement with the owners (ROSE Lab, NTU Singapore)"
_NTU60_CITATION = (
    "A. Shahroudy, J. Liu, T.-T. Ng, G. Wang. "
    "NTU RGB+D: A Large Scale Dataset for 3D Human Activity Analysis. CVPR 2016."
)
_NTU120_CITATION = (
    "J. Liu, A. Shahroudy, M. Perez, G. Wang, L.-Y. Duan, A. C. Kot. "
    "NTU RGB+D 120: A Large-Scale Benchmark for 3D Human Activity Understanding. TPAMI 2019."
)


def ntu60(raw: Path | str, missing: Path | str | None = None) -> Corpus:
    """NTU RGB+D 60: a folder of `.skeleton` files, or of folders of them.

    Each performer is expected in all 60 actions of the setup before all three cameras, as often as there is any
    recording of it: what is then neither there nor in the owners' list is `Corpus.absent`.

    Args:
        raw: the folder.
        missing: the owners' list of samples with missing skeletons, which are left out; when not given, their file is
            looked for in the folder and beside it, and a note says which was used, or that none was.

    Raises:
        FileNotFoundError: no such folder, or no such list.
        ValueError: it holds no recordings of this corpus, holds one twice, or they are synthetic.
    """
    edition = _Edition("ntu60", NTU60_CLASSES, NTU60_SPLITS, NTU60_PUBLISHED, _NTU60_LISTS, _NTU60_CITATION)
    return _recorded(raw, missing, edition)


def ntu120(raw: Path | str, missing: Path | str | None = None) -> Corpus:
    """NTU RGB+D 120: a folder of `.skeleton` files, or of folders of them.

    As `ntu60`, with all 120 classes and their own list.

    Args:
        raw: the folder.
        missing: the owners' list of samples with missing skeletons; looked for when not given.

    Raises:
        FileNotFoundError: no such folder, or no such list.
        ValueError: it holds no recordings of this corpus, holds one twice, or they are synthetic.
    """
    edition = _Edition("ntu120", NTU120_CLASSES, NTU120_SPLITS, NTU120_PUBLISHED, _NTU120_LISTS, _NTU120_CITATION)
    return _recorded(raw, missing, edition)


def synthetic(raw: Path | str) -> Corpus:
    """What `hiclr.data.synthetic` wrote: files of NTU's form and names, with the class names in `synthetic.json`.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: it has no marker or a damaged one, or no recordings.
    """
    folder = _scan(raw)
    marker = folder.root / MARKER
    if not marker.is_file():
        raise ValueError(f"{folder.root} has no {MARKER}, so it is not synthetic: use `hiclr prepare ntu60`")
    try:
        meta = json.loads(marker.read_text(encoding="utf-8"))
        class_names = tuple(map(str, meta.pop("class_names")))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{marker} does not state the class names ({type(error).__name__}: {error})") from None
    return _ntu(folder, "synthetic", class_names, NTU60_SPLITS, _OwnersList(), meta, synthetic=True)


class _Edition(NamedTuple):
    """What sets one of the two corpora apart."""

    name: str
    class_names: tuple[str, ...]
    splits: dict[str, Split]
    published: dict[str, tuple[int, int]]
    lists: tuple[str, ...]  # file names of the owners' list
    citation: str


def _recorded(raw: Path | str, missing: Path | str | None, edition: _Edition) -> Corpus:
    folder = _scan(raw)
    if folder.marked:
        raise ValueError(f"{folder.root} holds synthetic recordings ({MARKER}): use `hiclr prepare synthetic`")
    owners = _owners_list(folder.root, missing, edition.lists)
    meta = {"licence": _NTU_LICENCE, "citation": edition.citation}
    corpus = _ntu(folder, edition.name, edition.class_names, edition.splits, owners, meta)
    return replace(corpus, published=edition.published, absent=_absent(corpus, folder, owners))


class _Folder(NamedTuple):
    """The `.skeleton` files at and below a folder, by name."""

    root: Path
    files: dict[str, str]
    no_files: tuple[str, ...]
    marked: bool


class _OwnersList(NamedTuple):
    """Names the owners of a corpus tell to leave out, and a sentence on where they came from."""

    names: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def _scan(raw: Path | str) -> _Folder:
    root = Path(raw)
    files: dict[str, str] = {}
    no_files: list[str] = []
    marked = False
    for entry in files_below(root):
        marked |= entry.name == MARKER
        if not entry.name.lower().endswith(_SUFFIX):
            continue
        name = readable(entry.name[: -len(_SUFFIX)])
        if not entry.is_file:
            no_files.append(name)
        elif name in files:
            raise ValueError(f"{name} occurs twice below {root}: {readable(files[name])} and {readable(entry.path)}")
        else:
            files[name] = entry.path
    if not files:
        raise ValueError(f"no .skeleton files in {root}")
    return _Folder(root, files, tuple(sorted(no_files)), marked)


def _owners_list(root: Path, stated: Path | str | None, file_names: tuple[str, ...]) -> _OwnersList:
    places = [Path(stated)] if stated is not None else [at / name for at in (root, root.parent) for name in file_names]
    found = next((place for place in places if place.is_file()), None)
    if found is None and stated is not None:
        raise FileNotFoundError(f"no list of missing skeletons at {stated}")
    if found is None:
        return _OwnersList(
            notes=(
                f"no list of samples with missing skeletons was given or found ({file_names[0]}): "
                "none was left out for that reason, so counts differ from the published ones",
            )
        )
    words = (word.removesuffix(".skeleton") for word in found.read_text("utf-8-sig", errors="replace").split())
    names = frozenset(word for word in words if ntu_name(word))
    if not names:
        raise ValueError(f"{found} names no NTU samples: is it the owners' list of missing skeletons?")
    return _OwnersList(names, (f"{len(names)} names in the owners' list {found.name}",))


def _ntu(
    folder: _Folder,
    name: str,
    class_names: tuple[str, ...],
    splits: dict[str, Split],
    owners: _OwnersList,
    meta: dict[str, Any],
    synthetic: bool = False,
) -> Corpus:
    parsed = {file: ntu_name(file) for file in sorted(folder.files)}
    kept = {
        file: numbers
        for file, numbers in parsed.items()
        if numbers and 1 <= numbers.action <= len(class_names) and file not in owners.names
    }
    if not kept:
        raise ValueError(f"none of the {len(parsed)} .skeleton files in {folder.root} is a recording of {name}")
    unused = {
        "named in the owners' list": [file for file in parsed if file in owners.names],
        "not named SsssCcccPpppRrrrAaaa": [file for file, numbers in parsed.items() if not numbers],
        f"of actions other than A001 to A{len(class_names):03d}": [
            file for file, numbers in parsed.items() if numbers and not 1 <= numbers.action <= len(class_names)
        ],
        NO_FILES: folder.no_files,
    }
    rows = list(kept.values())
    samples = pd.DataFrame(
        {
            "name": list(kept),
            "label": [row.action - 1 for row in rows],
            "subject": [row.performer for row in rows],
            "camera": [row.camera for row in rows],
            "setup": [row.setup for row in rows],
            "rep": [row.repetition for row in rows],
            **{benchmark: ["train" if split(row) else "test" for row in rows] for benchmark, split in splits.items()},
        }
    )
    paths = [folder.files[file] for file in kept]
    return Corpus(
        name=name,
        skeleton=SKELETONS["ntu25"],
        class_names=class_names,
        benchmarks=tuple(splits),
        bodies=2,
        samples=samples,
        read=lambda row: read_ntu_skeleton(paths[row]),
        files=tuple(paths),
        fingerprint=names_and_sizes(paths),
        synthetic=synthetic,
        surplus=tuple(sorted({file for files in unused.values() for file in files})),
        notes=(*owners.notes, *(note for why, files in unused.items() for note in left_out(why, files))),
        meta={"units": "metre", "fps": 30, "axes": "Kinect camera space: y up, z away from the camera", **meta},
    )


def _absent(corpus: Corpus, folder: _Folder, owners: _OwnersList) -> tuple[str, ...]:
    """The recordings that those of `corpus` lead to expect."""
    wanted = map(str, ntu_grid(name for name in map(ntu_name, corpus.samples["name"]) if name))
    return tuple(sorted(name for name in wanted if name not in folder.files and name not in owners.names))


def ntu_grid(seen: Iterable[NTUName]) -> Iterator[NTUName]:
    """All that the owners recorded where they made the recordings `seen`: before each camera all actions of a setup."""
    for setup, performer, repetition in sorted({(name.setup, name.performer, name.repetition) for name in seen}):
        for camera, action in product(NTU_CAMERAS, ntu_actions(setup)):
            yield NTUName(setup, camera, performer, repetition, action)


def ntu_actions(setup: int) -> range:
    """The actions of a setup: the first 60 in 1 to 17, the others in 18 to 32."""
    first = 1 if setup <= 17 else 61
    return range(first, first + 60) if 1 <= setup <= 32 else range(0)


# --- class names, in the owners' order (long ones shortened) ---------------------------------------------------------


NTU60_CLASSES = listed("""
    drink water; eat meal/snack; brushing teeth; brushing hair; drop; pickup; throw; sitting down; standing up;
    clapping; reading; writing; tear up paper; wear jacket; take off jacket; wear a shoe; take off a shoe;
    wear on glasses; take off glasses; put on a hat/cap; take off a hat/cap; cheer up; hand waving; kicking something;
    reach into pocket; hopping; jump up; make a phone call/answer phone; playing with phone/tablet;
    typing on a keyboard; pointing to something with finger; taking a selfie; check time (from watch);
    rub two hands together; nod head/bow; shake head; wipe face; salute; put the palms together; cross hands in front;
    sneeze/cough; staggering; falling; touch head (headache); touch chest (stomachache/heart pain);
    touch back (backache); touch neck (neckache); nausea or vomiting condition; use a fan/feeling warm;
    punching/slapping other person; kicking other person; pushing other person; pat on back of other person;
    point finger at the other person; hugging other person; giving something to other person;
    touch other person's pocket; handshaking; walking towards each other; walking apart from each other
""")

NTU120_CLASSES = NTU60_CLASSES + listed("""
    put on headphone; take off headphone; shoot at the basket; bounce ball; tennis bat swing;
    juggling table tennis balls; hush; flick hair; thumb up; thumb down; make ok sign; make victory sign; staple book;
    counting money; cutting nails; cutting paper; snapping fingers; open bottle; sniff; squat down; toss a coin;
    fold paper; ball up paper; play magic cube; apply cream on face; apply cream on hand back; put on bag;
    take off bag; put something into a bag; take something out of a bag; open a box; move heavy objects; shake fist;
    throw up cap/hat; hands up (both hands); cross arms; arm circles; arm swings; running on the spot; butt kicks;
    cross toe touch; side kick; yawn; stretch oneself; blow nose; hit other person with something;
    wield knife towards other person; knock over other person; grab other person's stuff;
    shoot at other person with a gun; step on foot; high-five; cheers and drink; carry something with other person;
    take a photo of other person; follow other person; whisper in other person's ear;
    exchange things with other person; support somebody with one's hand; finger-guessing game
""")
