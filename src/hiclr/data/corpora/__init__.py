"""Corpora: which recordings there are, who does what in them, and which side of each benchmark they are on.

A corpus is a function that looks at the raw files and returns a `Corpus`. Each of them is a verb too,
`hiclr prepare KIND`, whose options are the function's arguments.
"""

from hiclr.data.corpora.clips import clips
from hiclr.data.corpora.ctrgcn import ctrgcn
from hiclr.data.corpora.kinect import nwucla, utdmhad
from hiclr.data.corpora.ntu import ntu60, ntu120
from hiclr.data.corpora.pkummd import pkummd1, pkummd2
from hiclr.data.corpora.pyskl import pyskl
from hiclr.data.corpora.ragged import npz

__all__ = ["clips", "ctrgcn", "npz", "ntu60", "ntu120", "nwucla", "pkummd1", "pkummd2", "pyskl", "utdmhad"]
