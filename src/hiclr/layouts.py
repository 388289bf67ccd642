"""The joints of known layouts and what hangs on what, in the order in which sensors and estimators give them."""

from __future__ import annotations

LAYOUTS: dict[str, str] = {
    # Kinect v2 (NTU RGB+D, PKU-MMD). Bones as published: a hand tip hangs on the thumb.
    "ntu25": """
        spine_base: spine_mid; spine_mid: spine_shoulder; neck: spine_shoulder; head: neck;
        shoulder_left: spine_shoulder; elbow_left: shoulder_left; wrist_left: elbow_left; hand_left: wrist_left;
        shoulder_right: spine_shoulder; elbow_right: shoulder_right; wrist_right: elbow_right; hand_right: wrist_right;
        hip_left: spine_base; knee_left: hip_left; ankle_left: knee_left; foot_left: ankle_left;
        hip_right: spine_base; knee_right: hip_right; ankle_right: knee_right; foot_right: ankle_right;
        spine_shoulder;
        hand_tip_left: thumb_left; thumb_left: hand_left; hand_tip_right: thumb_right; thumb_right: hand_right
    """,
    # Kinect v1 (NW-UCLA, UTD-MHAD), in the order of its SDK.
    "kinect20": """
        hip_center: spine; spine: shoulder_center; shoulder_center; head: shoulder_center;
        shoulder_left: shoulder_center; elbow_left: shoulder_left; wrist_left: elbow_left; hand_left: wrist_left;
        shoulder_right: shoulder_center; elbow_right: shoulder_right; wrist_right: elbow_right; hand_right: wrist_right;
        hip_left: hip_center; knee_left: hip_left; ankle_left: knee_left; foot_left: ankle_left;
        hip_right: hip_center; knee_right: hip_right; ankle_right: knee_right; foot_right: ankle_right
    """,
    # COCO key points (HRNet, ViTPose, YOLO pose, ...). It has no neck: shoulders hang on the nose, as PYSKL draws it.
    "coco17": """
        nose; left_eye: nose; right_eye: nose; left_ear: left_eye; right_ear: right_eye;
        left_shoulder: nose; right_shoulder: nose; left_elbow: left_shoulder; right_elbow: right_shoulder;
        left_wrist: left_elbow; right_wrist: right_elbow; left_hip: left_shoulder; right_hip: right_shoulder;
        left_knee: left_hip; right_knee: right_hip; left_ankle: left_knee; right_ankle: right_knee
    """,
    # OpenPose's COCO model, as ST-GCN draws it.
    "openpose18": """
        nose: neck; neck;
        right_shoulder: neck; right_elbow: right_shoulder; right_wrist: right_elbow;
        left_shoulder: neck; left_elbow: left_shoulder; left_wrist: left_elbow;
        right_hip: right_shoulder; right_knee: right_hip; right_ankle: right_knee;
        left_hip: left_shoulder; left_knee: left_hip; left_ankle: left_knee;
        right_eye: nose; left_eye: nose; right_ear: right_eye; left_ear: left_eye
    """,
    # MediaPipe Pose. A tree of its links: where it draws triangles (hands, feet), what hangs on wrist and ankle; mouth
    # and shoulders, which nothing links to the face, on the nose.
    "mediapipe33": """
        nose; left_eye_inner: nose; left_eye: left_eye_inner; left_eye_outer: left_eye;
        right_eye_inner: nose; right_eye: right_eye_inner; right_eye_outer: right_eye;
        left_ear: left_eye_outer; right_ear: right_eye_outer; mouth_left: nose; mouth_right: nose;
        left_shoulder: nose; right_shoulder: nose; left_elbow: left_shoulder; right_elbow: right_shoulder;
        left_wrist: left_elbow; right_wrist: right_elbow; left_pinky: left_wrist; right_pinky: right_wrist;
        left_index: left_wrist; right_index: right_wrist; left_thumb: left_wrist; right_thumb: right_wrist;
        left_hip: left_shoulder; right_hip: right_shoulder; left_knee: left_hip; right_knee: right_hip;
        left_ankle: left_knee; right_ankle: right_knee; left_heel: left_ankle; right_heel: right_ankle;
        left_foot_index: left_ankle; right_foot_index: right_ankle
    """,
    # The 17 joints of Human3.6M that 3D lifters give (VideoPose3D, MotionBERT, ...), names as in MMPose.
    "h36m17": """
        root; right_hip: root; right_knee: right_hip; right_foot: right_knee;
        left_hip: root; left_knee: left_hip; left_foot: left_knee;
        spine: root; thorax: spine; neck_base: thorax; head: neck_base;
        left_shoulder: thorax; left_elbow: left_shoulder; left_wrist: left_elbow;
        right_shoulder: thorax; right_elbow: right_shoulder; right_wrist: right_elbow
    """,
}
"""Name -> "joint: parent" of each joint, separated by semicolons; the root stands alone."""
