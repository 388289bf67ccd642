"""NW-UCLA and UTD-MHAD: short clips of one body, seen by a Kinect v1."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from hiclr.data.corpora.base import NO_FILES, Corpus, files_below, left_out, listed, names_and_sizes, readable
from hiclr.data.recordings.kinect import read_nwucla, read_utdmhad
from hiclr.skeleton import SKELETONS, Skeleton

NWUCLA_FILE = re.compile(r"a([0-9]{2})_s([0-9]{2})_e([0-9]{2})_v([0-9]{2})\.json")
UTDMHAD_FILE = re.compile(r"a([0-9]{1,2})_s([0-9]{1,2})_t([0-9]{1,2})_skeleton\.mat")

NWUCLA_ACTIONS = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12)  # in file names; the labels in the files count from 1 to 10
NWUCLA_SIDES = {1: "train", 2: "train", 3: "test"}  # by camera

_SOURCE = {"units": "metre", "fps": 30, "axes": "Kinect v1 camera space: y up, z away from the camera"}

# As kinect20, but everything hangs on the hips: so UTD-MHAD is used elsewhere.
_UTDMHAD_SKELETON = Skeleton(
    "utdmhad",
    SKELETONS["kinect20"].joint_names,
    (-1, 0, 1, 2, 2, 4, 5, 6, 2, 8, 9, 10, 0, 12, 13, 14, 0, 16, 17, 18),
)


def nwucla(raw: Path | str) -> Corpus:
    """NW-UCLA: a folder of `aAA_sSS_eEE_vVV.json` files, or of folders of them.

    The class is told by the action in the name (01 to 06, 08, 09, 11 and 12 are the ten classes in order); a file that
    states another label is skipped when it is read, and named. Cameras 1 and 2 train, camera 3 tests.

    Args:
        raw: the folder.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: it holds no such files, or one of them twice.
    """
    clips = _scan(Path(raw), NWUCLA_FILE, "aAA_sSS_eEE_vVV.json", NWUCLA_ACTIONS)
    labels = [NWUCLA_ACTIONS.index(action) for action, *_ in clips.numbers]
    return Corpus(
        name="nwucla",
        skeleton=SKELETONS["kinect20"],
        class_names=NWUCLA_CLASSES,
        benchmarks=("xview",),
        bodies=1,
        samples=pd.DataFrame(
            {
                "name": [path.stem for path in clips.paths],
                "label": labels,
                "subject": [subject for _, subject, *_ in clips.numbers],
                "camera": [camera for *_, camera in clips.numbers],
                "setup": 0,
                "rep": [repetition for *_, repetition, _ in clips.numbers],
                "xview": [NWUCLA_SIDES.get(camera, "") for *_, camera in clips.numbers],
            }
        ),
        read=lambda row: read_nwucla(clips.paths[row], labels[row] + 1),
        files=clips.paths,
        fingerprint=names_and_sizes(clips.paths),
        published={"xview": (1020, 464)},
        surplus=clips.others,
        notes=clips.notes,
        meta={
            **_SOURCE,
            "licence": "none stated that we know of: ask the authors, cite the paper",
            "citation": "J. Wang, X. Nie, Y. Xia, Y. Wu, S.-C. Zhu. "
            "Cross-view Action Modeling, Learning and Recognition. CVPR 2014.",
        },
    )


def utdmhad(raw: Path | str) -> Corpus:
    """UTD-MHAD: a folder of `aA_sS_tT_skeleton.mat` files, or of folders of them.

    The files list the joints from the head; they are put into the order of "kinect20". Odd subjects train, even ones
    test.

    Args:
        raw: the folder.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: it holds no such files, or one of them twice.
    """
    actions = range(1, len(UTDMHAD_CLASSES) + 1)
    clips = _scan(Path(raw), UTDMHAD_FILE, "aA_sS_tT_skeleton.mat", actions)
    return Corpus(
        name="utdmhad",
        skeleton=_UTDMHAD_SKELETON,
        class_names=UTDMHAD_CLASSES,
        benchmarks=("xsub",),
        bodies=1,
        samples=pd.DataFrame(
            {
                "name": [path.stem.removesuffix("_skeleton") for path in clips.paths],
                "label": [action - 1 for action, *_ in clips.numbers],
                "subject": [subject for _, subject, _ in clips.numbers],
                "camera": 1,
                "setup": 0,
                "rep": [repetition for *_, repetition in clips.numbers],
                "xsub": ["train" if subject % 2 else "test" for _, subject, _ in clips.numbers],
            }
        ),
        read=lambda row: read_utdmhad(clips.paths[row]),
        files=clips.paths,
        fingerprint=names_and_sizes(clips.paths),
        published={"xsub": (431, 430)},
        surplus=clips.others,
        notes=clips.notes,
        meta={
            **_SOURCE,
            "licence": "freely available, cite the paper (authors' abstract)",
            "citation": "C. Chen, R. Jafari, N. Kehtarnavaz. UTD-MHAD: A Multimodal Dataset for Human Action "
            "Recognition Utilizing a Depth Camera and a Wearable Inertial Sensor. ICIP 2015.",
        },
    )


class _Clips(NamedTuple):
    """The clips at and below a folder, in the order of their names, and files that only look like clips."""

    paths: tuple[Path, ...]
    numbers: tuple[tuple[int, ...], ...]  # in the name of each, the action first
    others: tuple[str, ...]
    notes: tuple[str, ...]


def _scan(root: Path, form: re.Pattern[str], described: str, actions: Sequence[int]) -> _Clips:
    found: dict[str, Path] = {}
    no_files: list[str] = []
    for entry in files_below(root):
        name = readable(entry.name)
        if not name.endswith(Path(described).suffix):
            continue
        if not entry.is_file:
            no_files.append(name)
            continue
        if name in found and form.fullmatch(name):
            raise ValueError(f"{name} occurs twice below {root}: {found[name]} and {entry.path}: keep one")
        found[name] = Path(entry.path)
    matches = {name: form.fullmatch(name) for name in sorted(found)}
    numbers = {name: tuple(map(int, match.groups())) for name, match in matches.items() if match}
    clips = [name for name in numbers if numbers[name][0] in actions]
    if not clips:
        raise ValueError(f"none of the {len(found)} {Path(described).suffix} files below {root} is a clip {described}")
    strange = [name for name in sorted(found) if name not in numbers]
    elsewhere = [name for name in numbers if numbers[name][0] not in actions]
    return _Clips(
        paths=tuple(found[name] for name in clips),
        numbers=tuple(numbers[name] for name in clips),
        others=(*strange, *elsewhere, *sorted(no_files)),
        notes=(
            *left_out(f"not named {described}", strange),
            *left_out("of actions that are no class", elsewhere),
            *left_out(NO_FILES, sorted(no_files)),
        ),
    )


# --- class names, in the owners' order --------------------------------------------------------------------------------


NWUCLA_CLASSES = listed("""
    pick up with one hand; pick up with two hands; drop trash; walk around; sit down; stand up; donning; doffing;
    throw; carry
""")

UTDMHAD_CLASSES = listed("""
    swipe left; swipe right; wave; clap; throw; arm cross; basketball shoot; draw x; draw circle clockwise;
    draw circle counter clockwise; draw triangle; bowling; boxing; baseball swing; tennis swing; arm curl; tennis serve;
    push; knock; catch; pickup and throw; jog; walk; sit to stand; stand to sit; lunge; squat
""")
