"""The verb that makes clips of videos."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import yaml
from rich.markup import escape
from rich.progress import track

from hiclr.cli.console import console, say
from hiclr.data.corpora.base import files_below, some
from hiclr.forms import fits, read_json
from hiclr.pose.base import PoseEstimator, load_extra, poses_of
from hiclr.pose.clips import clip_text, found
from hiclr.pose.mediapipe import MediaPipePose
from hiclr.pose.reading import VIDEO_SUFFIXES, Video, check_part, open_video
from hiclr.provenance import provenance, write_json, write_whole
from hiclr.skeleton import SKELETONS, Skeleton

RECORD = "video.json"
_WHOLE = 0.9  # of the frames that a video promises: with fewer it is damaged


def video(
    files: Sequence[Path],
    out: Path = Path("clips"),
    estimator: Callable[[], PoseEstimator] = MediaPipePose,
    fps: float | None = None,
    start: float = 0.0,
    stop: float | None = None,
    overwrite: bool = False,
) -> list[Path]:
    """Finds a person's joints in videos and writes clips that the other verbs read.

    Each video becomes one `.csv` clip of the same name: metres, y up, a row a frame, empty where nobody was found. What
    was done is in `video.json` beside them. MediaPipe gives 33 joints of the most prominent person around the middle of
    the hips: where in the room the person is, a clip does not tell. It needs the extra "video" and no network.

    Args:
        files: videos, and folders of them (`hiclr video a.mp4 films`); what lies in subfolders goes into subfolders.
        out: folder for the clips. A clip that is there is kept, so that stopped work goes on.
        estimator: MediaPipePose, or a subclass of `hiclr.pose.base.PoseEstimator` by its path, my.module.MyPose.
        fps: frames a second to take; those of each video when not given.
        start: where in each video to begin, seconds.
        stop: where in each video to end, seconds; at its end when not given.
        overwrite: make clips anew that are there.

    Returns:
        The clips, those that were kept too.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: the extra "video" is missing, two videos would become one clip, or no video shows anybody.
    """
    check_part(start, stop, fps)
    out = Path(out)
    wanted = _clips_of([Path(files)] if isinstance(files, str | Path) else list(map(Path, files)), out)
    finder = estimator()
    load_extra("imageio_ffmpeg")  # as early
    made: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    kept: list[str] = []
    try:
        for at, (clip, path) in enumerate(wanted.items(), start=1):
            name = clip.relative_to(out).with_suffix("").as_posix()
            if clip.exists() and not overwrite:
                kept.append(name)
                continue
            title = f"{path.name} ({at} of {len(wanted)})"
            try:
                made[name] = _film(open_video(path, start, stop, fps), finder, clip, title)
            except ValueError as error:
                skipped[name] = str(error)
    finally:  # of stopped work too
        if made:
            write_json(out / RECORD, {"clips": _made_before(out) | made, "skipped": skipped, **provenance()})
    clips = [clip for clip in wanted if clip.exists()]
    if not clips:
        raise ValueError(f"no clip was made: {'; '.join(skipped.values())}")
    for reason in skipped.values():
        say(f"skipped: {reason}")
    if kept:
        say(f"kept as there already: {some(kept)} (--overwrite true makes anew)")
    say(f"{len(clips)} clip{'s'[: len(clips) != 1]} in {out}. Next: {_next_step(out, finder.skeleton)}")
    return clips


def _clips_of(files: Sequence[Path], out: Path) -> dict[Path, Path]:
    """Which clip each video becomes: clip -> video."""
    clips: dict[Path, Path] = {}
    for given in files:
        if not given.exists():
            raise FileNotFoundError(f"no video {given}")
        videos = _videos_below(given) if given.is_dir() else [given]
        if not videos:
            raise ValueError(f"no videos in {given}: their names end in {', '.join(VIDEO_SUFFIXES)}")
        for path in videos:
            inside = path.relative_to(given) if given.is_dir() else Path(path.name)
            clip = out / inside.with_suffix(".csv")
            if clips.setdefault(clip, path) != path:
                raise ValueError(f"{clips[clip]} and {path} would both become {clip}: rename one or give another out")
    if not clips:
        raise ValueError("files names no video")
    return clips


def _videos_below(folder: Path) -> list[Path]:
    """The video files in a folder and its subfolders; hidden ones are none."""
    paths = (Path(entry.path) for entry in files_below(folder) if entry.is_file)
    videos = (path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES)
    return sorted(path for path in videos if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _film(source: Video, finder: PoseEstimator, clip: Path, title: str) -> dict[str, Any]:
    """Makes one clip of one video; what there is to say of it."""
    with closing(source.frames()) as frames:
        bar = track(frames, escape(title), source.expected_frames, console=console, transient=True)
        poses = poses_of(finder, iter(bar), source.fps)
    seen = int(found(poses).any(1).sum())
    if not seen:
        raise ValueError(f"{source.path}: nobody was found in its {len(poses)} frames")
    clip.parent.mkdir(parents=True, exist_ok=True)
    text = clip_text(poses, finder.skeleton, source.fps, source.start)
    write_whole(clip, lambda file: file.write_text(text, encoding="utf-8"))
    promised = source.expected_frames or 0
    cut = len(poses) < _WHOLE * promised
    broken = f"; the video broke off, it promised {promised} frames" if cut else ""
    say(f"{clip}: somebody is in {seen} of {len(poses)} frames, {source.fps:g} a second{broken}")
    return {
        "video": str(source.path),
        "estimator": type(finder).__name__,
        "skeleton": finder.skeleton.name,
        "fps": source.fps,
        "start": source.start,
        "frames": len(poses),
        "frames_with_somebody": seen,
        "bodies": poses.shape[1],
        "broke_off": cut,
    }


def _made_before(out: Path) -> dict[str, Any]:
    """What an earlier command says of the clips that are there."""
    with suppress(OSError, ValueError):  # damaged: nothing is known
        record = read_json(out / RECORD)
        if fits(record, {"clips": {...: dict}}):
            return {name: facts for name, facts in record["clips"].items() if (out / f"{name}.csv").exists()}
    return {}


def _next_step(out: Path, skeleton: Skeleton) -> str:
    """The command that looks at the clips; joints that no file name tells lie in a file beside them."""
    if skeleton in SKELETONS.values():
        return f"hiclr doctor {out}"
    layout = out / "skeleton.yaml"
    write_whole(layout, lambda file: file.write_text(yaml.safe_dump(skeleton.to_dict(), sort_keys=False)))
    return f"hiclr doctor {out} --kind clips --options.skeleton {layout}"
