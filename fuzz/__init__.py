"""Coverage-guided fuzzing of every reader: `make fuzz`.

A reader is what stands between a stranger's file and the rest of hiclr. `readers` says of each how bytes become a file
of its kind, and reads that file as a user's would be; `judge` says what counts as a finding; `drive` is the process in
which libFuzzer (atheris) makes up the bytes; `run` starts those processes, one reader after another, and writes what
they found. Only `drive` needs atheris.
"""
