"""Coverage-guided fuzzing of every reader: `make fuzz`.

A reader is what stands between a stranger's file and the rest of hiclr.

- `readers`: of each reader how bytes become a file of its kind, and how a user's command would open that file;
- `folders`: the small true folders in which the file lies, whose contents are the seeds;
- `containers`: bytes as the inside of a zip archive, a MATLAB file or a model folder, past their checksums;
- `judge`: what counts as a finding;
- `drive`: the process in which libFuzzer (atheris) makes up the bytes; nothing else needs atheris;
- `run`: starts those processes, one reader after the other, and writes what they came to.

Each finding becomes a test of the reader, small and written by hand.
"""
