"""The readers and the forms in which bytes reach them: always as a file in a folder that is true but for it.

A form begins as a true folder that a helper of the tests writes. The true content of one file in it is the seed;
what libFuzzer makes of that takes its place, and the folder is opened as a user would open it.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fuzz import folders
from fuzz.containers import agree, from_zip, to_mat, to_zip
from fuzz.judge import Finding, check_refusal, watched
from hiclr.__main__ import main
from hiclr.data.doctor import examine
from hiclr.data.folder import Preparation, PreparedFolder
from hiclr.data.opening import open_corpus
from hiclr.data.prepare import prepared_batches
from hiclr.encoders.official import load_official
from hiclr.methods.recipe import recipe_views
from hiclr.model import load_model
from hiclr.reporting.gathering import gather
from hiclr.reporting.page import page
from hiclr.skeleton import SKELETONS, as_skeleton


@dataclass(frozen=True)
class Form:
    """A way for bytes to become part of a folder.

    Args:
        write: writes the true folder.
        file: what in it the bytes are for.
        ways: in which the folder is then opened and all of it read; each raises what the reader raises.
        opens: what of the folder they are given.
        wrap: bytes to the content of the file.
        unwrap: the true content to bytes, the seed.
        finish: makes other files of the folder fit the content.
    """

    write: Callable[[Path], Any]
    file: str
    ways: tuple[Callable[[Path], Any], ...]
    opens: str = "."
    wrap: Callable[[bytes], bytes] = bytes
    unwrap: Callable[[bytes], bytes] = bytes
    finish: Callable[[Path], None] | None = None


@dataclass(frozen=True)
class Reader:
    """What is fuzzed.

    Args:
        forms: how bytes become files of its kind.
        words: that its files are made of, with a blank between any two.
    """

    forms: tuple[Form, ...]
    words: str


class Target:
    """A reader, ready for any bytes: the first of them chooses a form and a way, the others are the content.

    Args:
        reader: which.
        root: an empty folder for the true ones.
    """

    def __init__(self, reader: Reader, root: Path) -> None:
        self._cases: list[tuple[Form, Path, Callable[[Path], Any]]] = []
        for place, form in enumerate(reader.forms):
            folder = root / str(place)
            folder.mkdir(parents=True)
            form.write(folder)
            self._cases += [(form, folder, way) for way in form.ways]

    def seeds(self) -> list[bytes]:
        """The true contents, for all forms and ways; before anything else was read."""
        contents = [form.unwrap((folder / form.file).read_bytes()) for form, folder, _ in self._cases]
        return [bytes([place]) + content for place, content in enumerate(contents)]

    def __call__(self, content: bytes) -> Exception | None:
        """Reads them; returns the refusal, if the reader refused them.

        Raises:
            Finding: the reader did what it must not do.
        """
        form, folder, way = self._cases[(content or b"\0")[0] % len(self._cases)]
        (folder / form.file).write_bytes(form.wrap(content[1:]))
        if form.finish is not None:
            form.finish(folder)
        try:
            with watched():
                way(folder / form.opens)
        except Finding:
            raise
        except Exception as error:
            check_refusal(error, (Path(form.file).name, str(folder / form.opens)))
            return error
        return None


# --- ways -------------------------------------------------------------------------------------------------------------


def _prepare(path: Path) -> None:
    """As `hiclr prepare` and `predict`: all recordings are read and prepared."""
    corpus = open_corpus(path)
    try:
        _ = corpus.skeleton.centre_joint, corpus.skeleton.shoulder_pair
    except ValueError as error:  # which `prepare` says before the work, of a skeleton by its name
        raise ValueError(f"{path}: {error}") from None
    for batch in prepared_batches(corpus, Preparation(frames=4, bodies=corpus.bodies)):
        for skipped in batch.skipped:
            check_refusal(ValueError(skipped.reason), ())


def _doctor(path: Path) -> None:
    """As `hiclr doctor`, which reports what cannot be opened, too."""
    for finding in examine(path, processes=1, progress=False).findings:
        check_refusal(ValueError(finding.what), ())


def _open_prepared(path: Path) -> None:
    """As training opens it."""
    folder = PreparedFolder.open(path)
    assert folder.skeleton.num_joints == folder.sequences.shape[3]
    assert len(folder.class_names) == folder.num_classes and folder.preparation.frames > 0
    np.array(folder.sequences)


def _report(path: Path) -> None:
    """As `hiclr report`, short of writing the page; what of a run cannot be read is left out and said."""
    gathered = gather([path])
    for sentence in gathered.left_out:
        check_refusal(ValueError(sentence), (path.name,))
    for result in gathered.results:
        with contextlib.suppress(FileNotFoundError):
            result.scores()
    page(gathered, None, {"missing": "no data"})


def _skeleton(path: Path) -> None:
    """As any `--skeleton`."""
    skeleton = as_skeleton(path)
    with contextlib.suppress(ValueError):  # not every skeleton has two arms
        skeleton.adjacency()


def _views(path: Path) -> None:
    """As `hiclr view --augment`."""
    recipe_views(path, SKELETONS["kinect20"])


def _command_line(path: Path) -> None:
    """As `hiclr pretrain --config`: the command line refuses the recipe, or it gets as far as the data."""
    said = io.StringIO()
    nowhere = str(path.with_name("nowhere"))
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            main(["pretrain", "--config", str(path), "--data.root", nowhere, "--out", nowhere])
        except SystemExit as end:
            if end.code != 2:
                raise RuntimeError(f"exit code {end.code}") from None
    check_refusal(ValueError(said.getvalue().removesuffix("\n")), ())


# --- readers ----------------------------------------------------------------------------------------------------------

_RAW = (_prepare, _doctor)

READERS: dict[str, Reader] = {
    "ntu": Reader(
        (
            Form(folders.ntu, "S001C001P001R001A001.skeleton", _RAW),
            Form(folders.ntu_lists, "NTU_RGBD_samples_with_missing_skeletons.txt", _RAW),
            Form(folders.ntu_synthetic, "synthetic.json", _RAW),
        ),
        "72057594037944738 nan inf -0.0 1e39 25\n 0\n class_names S001C003P002R002A001",
    ),
    "pku": Reader(
        (
            Form(folders.pku, "0002-L.txt", _RAW),
            Form(folders.pku, "labels/0002-L.txt", _RAW),
            Form(folders.pku, "cross-subject.txt", _RAW),
        ),
        "0002-L 0002-M A01N01-L Training Validation videos: , nan inf",
    ),
    "nwucla": Reader(
        (Form(folders.nwucla, "a01_s01_e00_v01.json", _RAW),),
        '"file_name" "a01_s01_e00_v01" "skeletons" "label" NaN -Infinity 1e400 [[[ ]]] null',
    ),
    "mat": Reader(
        (
            Form(folders.utdmhad, "a1_s1_t1_skeleton.mat", _RAW),
            Form(folders.utdmhad, "a1_s1_t1_skeleton.mat", _RAW, wrap=to_mat),
            Form(folders.utdmhad_packed, "a1_s1_t1_skeleton.mat", _RAW),
        ),
        "d_skel MATLAB IM MI",
    ),
    "npz": Reader(
        (
            Form(folders.ragged, "mine.npz", _RAW, "mine.npz", to_zip, from_zip),
            Form(folders.ragged_packed, "mine.npz", _RAW, "mine.npz", to_zip, from_zip),
            Form(folders.ctrgcn, "NTU60_CS.npz", _RAW, "NTU60_CS.npz", to_zip, from_zip),
            Form(folders.ragged, "mine.npz", _RAW, "mine.npz"),
            Form(folders.ragged_packed, "mine.npz", _RAW, "mine.npz"),
            Form(folders.ctrgcn, "NTU60_CS.npz", _RAW, "NTU60_CS.npz"),
        ),
        "frames.npy\n offsets.npy\n parent.npy\n joint_names.npy\n split_xview.npy\n mirror.npy\n centre.npy\n "
        "shoulders.npy\n y_train.npy\n 'shape': 'descr': 'fortran_order': True '<f4' '|O' '<U9' '<M8'",
    ),
    "npy": Reader(
        (
            Form(folders.npy, "clip.npy", _RAW),
            Form(folders.npy_of_two, "clip.npy", _RAW),
            Form(folders.npy, "clip.npy", _RAW, "clip.npy"),
        ),
        "'shape': 'descr': 'fortran_order': True '<f4' '|O' '<U9' '<M8' 9223372036854775807",
    ),
    "csv": Reader(
        (
            Form(folders.csv, "clips/walk.csv", _RAW, "clips/walk.csv"),
            Form(folders.csv_by_body, "clips/walk.csv", _RAW, "clips/walk.csv"),
            Form(folders.csv, "clips.csv", _RAW, "clips"),
        ),
        "name label subject camera setup view frame body length train test val walk sit nose_x hip_center_y x0 12_z ; "
        '\t " \r\n nan inf 1e39 1,5 1_0',
    ),
    "pickle": Reader(
        (
            Form(folders.pickle2, "ntu60.pkl", _RAW, "ntu60.pkl"),
            Form(folders.pickle5, "ntu60.pkl", _RAW, "ntu60.pkl"),
        ),
        "frame_dir keypoint label img_shape total_frames split annotations xsub_train cnumpy\nndarray\n "
        "cnumpy.core.multiarray\n_reconstruct\n cposix\nsystem\n c__builtin__\nset\n",
    ),
    "checkpoint": Reader(
        (
            Form(folders.checkpoint, "last.ckpt", (load_model,), ".", to_zip, from_zip),
            Form(folders.tiny_checkpoint, "last.ckpt", (load_model,), ".", to_zip, from_zip),
            Form(folders.published, "weights.pt", (load_model, load_official), "weights.pt", to_zip, from_zip),
            Form(folders.checkpoint, "last.ckpt", (load_model,), "last.ckpt"),
            Form(folders.published_legacy, "weights.pt", (load_official,), "weights.pt"),
        ),
        "hiclr encoder weights epochs run state_dict class_path init_args class_names hiclr.encoders.stgcn.STGCN "
        "hiclr.encoders.dsta.DSTA ctorch._utils\n_rebuild_tensor_v2\n ctorch\nHalfStorage\n cposix\nsystem\n",
    ),
    "yaml": Reader(
        (
            Form(folders.skeleton, "mine.yaml", (_skeleton,), "mine.yaml"),
            Form(folders.skeleton_in_lists, "mine.yaml", (_skeleton,), "mine.yaml"),
            Form(folders.recipe, "recipe.yaml", (_views,), "recipe.yaml"),
            Form(folders.recipe, "recipe.yaml", (_command_line,), "recipe.yaml"),
        ),
        "joints: parents: mirror: shoulders: class_path: init_args: !!python/object/apply: &a *a <<: null .inf .nan "
        "hiclr.encoders.dsta.DSTA os.system method: data: --- ... ? !!binary !!set",
    ),
    "safetensors": Reader(
        (
            Form(folders.model, "config.json", (load_model,)),
            Form(folders.tiny_model, "config.json", (load_model,)),
            Form(folders.tiny_model, "model.safetensors", (load_model,), finish=agree),
            Form(folders.model, "model.safetensors", (load_model,)),
        ),
        '"dtype":"F32" "shape":[ "data_offsets":[ "__metadata__" "F64" "BF16" 1e400 NaN "class_path" "init_args" null '
        'hiclr.encoders.dsta.DSTA "normalized" 9223372036854775808',
    ),
    "prepared": Reader(
        (
            Form(folders.prepared, "about.json", (_open_prepared, _doctor)),
            Form(folders.prepared, "samples.csv", (_open_prepared, _doctor)),
            Form(folders.prepared, "sequences.npy", (_open_prepared, _doctor)),
            Form(folders.run, "linear-xsub.json", (_report,)),
            Form(folders.run, "ensemble-xsub.json", (_report,)),
            Form(folders.run, "run.json", (_report,)),
            Form(folders.run, "metrics.csv", (_report,)),
            Form(folders.run, "linear-xsub-scores.npz", (_report,), wrap=to_zip, unwrap=from_zip),
            Form(folders.run, "linear-xsub-scores.npz", (_report,)),
        ),
        '"schema" "skeleton" "class_names" "benchmarks" "published" "dirty" "skipped" "steps" "source" train test NaN '
        '1e400 [[[[ epoch null "results" "weights" "streams"',
    ),
}
