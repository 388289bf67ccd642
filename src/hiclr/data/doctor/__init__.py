"""Is this data fit for a result? What `hiclr doctor` looks at, finds and says."""

from hiclr.data.doctor.diagnosis import Diagnosis
from hiclr.data.doctor.examination import examine
from hiclr.data.doctor.findings import Finding

__all__ = ["Diagnosis", "Finding", "examine"]
